// What an adapter needs of goptlib that goptlib does not show.  The overlay puts this file into the
// package (see adapter.go).

package pt

import (
	"bytes"
	"crypto/rand"
	"io"
	"net/url"
)

var (
	ParseClientParameters                                = parseClientParameters
	ParseServerTransportOptions                          = parseServerTransportOptions
	EncodeSmethodArgs                                    = encodeSmethodArgs
	EncodeCString                                        = encodeCString
	ResolveAddr                                          = resolveAddr
	ReadAuthCookie                                       = readAuthCookie
	Socks5Handshake                                      = socks5Handshake
	SendSocks5ResponseGranted                            = sendSocks5ResponseGranted
	SendSocks5ResponseRejected                           = sendSocks5ResponseRejected
	GetManagedTransportVer                               = getManagedTransportVer
	GetProxyURL                 func() (*url.URL, error) = getProxyURL
)

// ExtOrPort is the whole conversation with an Extended ORPort, with a nonce that is known.
func ExtOrPort(s io.ReadWriter, cookiePath string, nonce []byte, addr, methodName string) error {
	random := rand.Reader
	rand.Reader = bytes.NewReader(nonce)
	defer func() { rand.Reader = random }()
	if err := extOrPortAuthenticate(s, &ServerInfo{AuthCookiePath: cookiePath}); err != nil {
		return err
	}
	return extOrPortSetMetadata(s, addr, methodName)
}
