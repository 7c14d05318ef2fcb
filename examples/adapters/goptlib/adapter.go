// An adapter for goptlib, the Go library of most transports, as Debian has it in
// golang-goptlib-dev.  It does not need ptipc.  To build it, in this directory:
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go build -overlay overlay.json -o /tmp/goptlib-adapter adapter.go
//
// and then:
//
//	ptipc check adapter --expect ../goptlib.expect.toml -- /tmp/goptlib-adapter

package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"

	pt "git.torproject.org/pluggable-transports/goptlib.git"
)

const version = "1.2.0"

type object = map[string]interface{}

type request struct {
	Cmd    string          `json:"cmd"`
	Seq    int             `json:"seq"`
	Op     string          `json:"op"`
	Input  json.RawMessage `json:"input"`
	Script []object        `json:"script"`
}

var errSkip = errors.New("goptlib cannot be asked that")

// --- texts and values

type input struct {
	Text      string           `json:"text"`
	Value     json.RawMessage  `json:"value"`
	Offered   []string         `json:"offered"`
	Supported []string         `json:"supported"`
	Cookie    string           `json:"cookie"`
	Nonce     string           `json:"nonce"`
	Transport string           `json:"transport"`
	Client    string           `json:"client_address"`
	User      *json.RawMessage `json:"user"`
	JSONLimit *json.RawMessage `json:"json-limit"`
	Draft     *json.RawMessage `json:"draft-method"`
	UserID    *json.RawMessage `json:"user-id-limit"`
}

// A map has no order; the keys are told in that of the text.
func pairs(args pt.Args, text string) [][]string {
	keys := make([]string, 0, len(args))
	for key := range args {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	at := func(key string) int {
		if found := strings.Index(text, key); found >= 0 {
			return found
		}
		return len(text) // it is escaped in the text
	}
	sort.SliceStable(keys, func(i, j int) bool { return at(keys[i]) < at(keys[j]) })
	found := [][]string{}
	for _, key := range keys {
		for _, value := range args[key] {
			found = append(found, []string{key, value})
		}
	}
	return found
}

func args(value json.RawMessage) (pt.Args, error) {
	var given [][]string
	if err := json.Unmarshal(value, &given); err != nil {
		return nil, errSkip
	}
	found := pt.Args{}
	for _, pair := range given {
		found.Add(pair[0], pair[1])
	}
	return found, nil
}

func plain(op string, in input) (interface{}, error) {
	switch op {
	case "client-args/parse":
		found, err := pt.ParseClientParameters(in.Text)
		return pairs(found, in.Text), err
	case "server-options/parse":
		found, err := pt.ParseServerTransportOptions(in.Text)
		names := make([]string, 0, len(found))
		for name := range found {
			names = append(names, name)
		}
		sort.SliceStable(names, func(i, j int) bool {
			return strings.Index(in.Text, names[i]) < strings.Index(in.Text, names[j])
		})
		told := []interface{}{}
		for _, name := range names {
			told = append(told, []interface{}{name, pairs(found[name], in.Text)})
		}
		return told, err
	case "smethod-args/emit":
		given, err := args(in.Value)
		return pt.EncodeSmethodArgs(given), err
	case "cstring/emit":
		var text string
		if err := json.Unmarshal(in.Value, &text); err != nil {
			return nil, errSkip
		}
		return pt.EncodeCString(text), nil
	case "address/parse":
		found, err := pt.ResolveAddr(in.Text)
		if err != nil {
			return nil, err
		}
		return found.String(), nil
	case "cookie-file/parse":
		data, err := hex.DecodeString(strings.ReplaceAll(in.Text, " ", ""))
		if err != nil {
			return nil, errSkip
		}
		cookie, err := pt.ReadAuthCookie(bytes.NewReader(data))
		return spaced(cookie), err
	case "proxy-uri/parse":
		if in.Text == "" || strings.Contains(in.Text, "\x00") {
			return nil, errSkip
		}
		os.Setenv("TOR_PT_PROXY", in.Text)
		found, err := pt.GetProxyURL()
		if err != nil {
			return nil, err
		}
		told := object{"scheme": found.Scheme, "address": found.Host, "user": nil, "password": nil}
		if found.User != nil {
			told["user"] = found.User.Username()
			if password, given := found.User.Password(); given {
				told["password"] = password
			}
		}
		return told, nil
	case "versions/negotiate":
		if len(in.Supported) != 1 || in.Supported[0] != "1" || in.Offered == nil {
			return nil, errSkip
		}
		os.Setenv("TOR_PT_MANAGED_TRANSPORT_VER", strings.Join(in.Offered, ","))
		answer, err := pt.GetManagedTransportVer()
		if err != nil {
			return object{"answer": nil}, nil
		}
		return object{"dialect": "1", "answer": answer}, nil
	}
	return nil, errSkip
}

// --- exchanges

func spaced(data []byte) string {
	return strings.TrimSpace(fmt.Sprintf("% x", data))
}

var errTimeout = errors.New("timeout")

// peer is the other end of an exchange: goptlib reads what the script says, and waits for more.
type peer struct {
	given chan interface{} // octets or an error
	idle  chan struct{}    // goptlib waits for the next of them, or has come to its end
	left  []byte
	said  []byte
	ended error
}

func (p *peer) Read(into []byte) (int, error) {
	for len(p.left) == 0 {
		if p.ended != nil {
			return 0, p.ended
		}
		p.idle <- struct{}{}
		switch next := (<-p.given).(type) {
		case []byte:
			p.left = next
		case error:
			p.ended = next
		}
	}
	n := copy(into, p.left)
	p.left = p.left[n:]
	return n, nil
}

func (p *peer) Write(data []byte) (int, error) {
	p.said = append(p.said, data...)
	return len(data), nil
}

// play lets a handshake run against a script; decide is called once it is over.
func play(script []object, handshake func(*peer) error, decide func(*peer, object) error) (object, bool) {
	p := &peer{given: make(chan interface{}), idle: make(chan struct{}, 1)}
	var failure error
	over := make(chan struct{})
	go func() {
		failure = handshake(p)
		close(over)
	}()
	done := false
	wait := func() {
		select {
		case <-p.idle:
		case <-over:
			done = true
		}
	}
	said := []string{}
	take := func() {
		said = append(said, spaced(p.said))
		p.said = nil
	}
	wait()
	take()
	for _, step := range script {
		var next interface{}
		switch {
		case step["receive"] != nil:
			next, _ = hex.DecodeString(strings.ReplaceAll(step["receive"].(string), " ", ""))
		case step["eof"] != nil:
			next = io.EOF
		case step["timeout"] != nil:
			next = errTimeout
		}
		switch {
		case !done && next != nil:
			p.given <- next
			wait()
		case done && failure == nil && next == errTimeout:
			return object{"skip": "goptlib leaves that to its user"}, false
		case done && failure == nil && next == nil:
			decision, _ := step["decide"].(object)
			if err := decide(p, decision); err != nil {
				return object{"skip": err.Error()}, false
			}
		}
		take()
	}
	if !done {
		p.given <- io.EOF
		<-over
		failure = errors.New("it is not over")
	}
	if failure != nil {
		return object{"error": failure.Error(), "said": said}, false
	}
	return object{"said": said}, true
}

func socks(in input, script []object) object {
	if in.User != nil || in.JSONLimit != nil || in.Draft != nil || in.UserID != nil {
		return object{"skip": errSkip.Error()}
	}
	if first, _ := script[0]["receive"].(string); strings.HasPrefix(first, "04") {
		return object{"skip": "goptlib has only SOCKS5"}
	}
	var req pt.SocksRequest
	granted := false
	told, ok := play(script,
		func(p *peer) (err error) {
			req, err = pt.Socks5Handshake(p)
			return err
		},
		func(p *peer, decision object) error {
			if address, given := decision["grant"]; given {
				if address != nil && address != "0.0.0.0:0" {
					return errSkip
				}
				granted = true
				return pt.SendSocks5ResponseGranted(p)
			}
			return pt.SendSocks5ResponseRejected(p, byte(decision["refuse"].(float64)))
		})
	if ok {
		told["ok"] = object{
			"done":    true,
			"version": 5,
			"target":  req.Target,
			"args":    pairs(req.Args, req.Username+req.Password),
			"granted": granted,
		}
	}
	return told
}

func extorport(in input, script []object, directory string) object {
	cookie, _ := hex.DecodeString(strings.ReplaceAll(in.Cookie, " ", ""))
	nonce, _ := hex.DecodeString(strings.ReplaceAll(in.Nonce, " ", ""))
	path := filepath.Join(directory, "cookie")
	data := append([]byte("! Extended ORPort Auth Cookie !\n"), cookie...)
	if err := os.WriteFile(path, data, 0600); err != nil {
		return object{"skip": err.Error()}
	}
	told, ok := play(script,
		func(p *peer) error { return pt.ExtOrPort(p, path, nonce, in.Client, in.Transport) },
		func(p *peer, decision object) error { return errSkip })
	if ok {
		told["ok"] = object{"done": true}
	}
	return told
}

// --- the protocol

func answer(asked request, directory string) (told object) {
	defer func() {
		if problem := recover(); problem != nil {
			told = object{"error": fmt.Sprint(problem)}
		}
	}()
	var in input
	if err := json.Unmarshal(asked.Input, &in); err != nil {
		return object{"skip": err.Error()}
	}
	switch asked.Op {
	case "socks/responder":
		return socks(in, asked.Script)
	case "extorport/initiator":
		return extorport(in, asked.Script, directory)
	}
	value, err := plain(asked.Op, in)
	if err == errSkip {
		return object{"skip": err.Error()}
	}
	if err != nil {
		return object{"error": err.Error()}
	}
	return object{"ok": value}
}

func main() {
	pt.Stdout = io.Discard
	directory, err := os.MkdirTemp("", "goptlib-adapter")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(directory)
	requests := bufio.NewReaderSize(os.Stdin, 1<<20)
	answers := json.NewEncoder(os.Stdout)
	answers.SetEscapeHTML(false)
	for {
		line, err := requests.ReadBytes('\n')
		if err != nil {
			return
		}
		var asked request
		if err := json.Unmarshal(line, &asked); err != nil {
			panic(err)
		}
		switch asked.Cmd {
		case "start":
			answers.Encode(object{
				"version":        1,
				"name":           "goptlib",
				"implementation": version,
				"language":       "go",
				"dialects":       []string{"1"},
				// It refuses connections on which anything comes before its reply.
				"ways": []string{"split"},
				"ops": []string{
					"client-args/parse", "server-options/parse", "smethod-args/emit",
					"cstring/emit", "address/parse", "cookie-file/parse", "proxy-uri/parse",
					"versions/negotiate", "socks/responder", "extorport/initiator",
				},
			})
		case "run":
			told := answer(asked, directory)
			told["seq"] = asked.Seq
			answers.Encode(told)
		default:
			return
		}
	}
}
