"""The command ``ptipc``: one module per command, and the only room that prints."""
