"""What ptipc itself makes of the questions of the fixtures."""

from __future__ import annotations

from ptipc.conformance.operations import OPERATIONS
from ptipc.conformance.operations.kinds import (
    CodecOperation,
    PlainOperation,
    ScriptOperation,
    WireOperation,
)
from ptipc.conformance.questions import Answer, Question
from ptipc.core.dialects import DIALECTS
from ptipc.core.errors import PtipcError, Refused

__all__ = ["answer"]


def answer(question: Question) -> Answer:
    """What ptipc makes of a question.

    Raises whatever is neither a ValueError nor an error of ``ptipc.core.errors``: that is a bug.
    """
    dialect = next(each for each in DIALECTS if each.version == question.dialect)
    name, _, verb = question.op.rpartition("/")
    operation = OPERATIONS.get(question.op) or OPERATIONS.get(name)
    try:
        match operation:
            case CodecOperation() if verb == "parse":
                return Answer(value=operation.parse(question.input["text"], dialect))
            case CodecOperation():
                return Answer(value=operation.emit(question.input["value"], dialect))
            case PlainOperation():
                return Answer(value=operation.run(question.input, dialect))
            case ScriptOperation():
                said, outcome = operation.play(question.input, question.script or (), dialect)
                return Answer(value=outcome, said=(None, *said))
            case WireOperation():
                return _exchange(operation, question)
    except (ValueError, PtipcError) as error:
        return Answer(error=str(error))
    return Answer(skip="not an operation of ptipc")


def _exchange(operation: WireOperation, question: Question) -> Answer:
    dialect = next(each for each in DIALECTS if each.version == question.dialect)
    machine = operation.start(question.input, dialect)
    said = [machine.data_to_send().hex(" ")]
    failure: PtipcError | None = None
    for step in question.script or ():
        # A machine that has failed hears no more of its peer.
        if failure is None:
            try:
                if "receive" in step:
                    machine.receive_data(bytes.fromhex(step["receive"]))
                elif "decide" in step:
                    operation.decide(machine, step["decide"])
                elif "eof" in step:
                    machine.receive_eof()
                else:
                    machine.receive_timeout()
            except PtipcError as error:
                failure = error
        said.append(machine.data_to_send().hex(" "))
    if failure is not None:
        code = failure.code if isinstance(failure, Refused) else None
        return Answer(error=str(failure), code=code, said=tuple(said))
    trailing = machine.trailing_data.hex(" ") if machine.done else None
    return Answer(value=operation.outcome(machine), said=tuple(said), trailing=trailing)
