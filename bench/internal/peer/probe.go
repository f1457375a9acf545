package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// MessageSize and AnswerSize are the sizes in bytes of the message of a call of
// GRPC, and of what is answered in every setup but HTTP1, a gRPC message's
// prefix not counted.
const (
	MessageSize = 128
	AnswerSize  = 1 << 10
)

// CallPath is the method of a call of GRPC.
const CallPath = "/bench.Echo/Call"

// probe asks for one answer over a connection of its own, as the benchmark
// will.
func probe(ctx context.Context, s Site) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if s.Silent {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", s.Listen)
		if err != nil {
			return err
		}
		return c.Close()
	}
	method, path, body := http.MethodGet, "/1k", []byte(nil)
	if s.Setup.GRPC() {
		method, path = http.MethodPost, CallPath
		body = append(binary.BigEndian.AppendUint32([]byte{0}, MessageSize), make([]byte, MessageSize)...)
	}
	scheme := "http"
	tr := &http.Transport{Protocols: new(http.Protocols)}
	if s.Setup.TLS() {
		scheme = "https"
		// That the peer answers is what is asked; who it is, is the load's to check.
		tr.TLSClientConfig = &tls.Config{InsecureSkipVerify: true, ServerName: Service, MinVersion: tls.VersionTLS13}
	}
	switch {
	case !s.Setup.HTTP2():
		tr.Protocols.SetHTTP1(true)
	case s.Setup.TLS():
		tr.Protocols.SetHTTP2(true)
	default:
		tr.Protocols.SetUnencryptedHTTP2(true)
	}
	req, err := http.NewRequestWithContext(ctx, method, scheme+"://"+s.Listen+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Host = Service
	if s.Setup.GRPC() {
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("Te", "trailers")
	}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if s.Setup.GRPC() && resp.Trailer.Get("Grpc-Status") != "0" {
		return fmt.Errorf("grpc-status %q, %q", resp.Trailer.Get("Grpc-Status"), resp.Header.Get("Grpc-Status"))
	}
	return nil
}
