package http2

import (
	"io"
	"sync"
	"testing"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// BenchmarkUnary is both sides of a connection: a request and a response of a
// few bytes each.
func BenchmarkUnary(b *testing.B) {
	for _, n := range []int{1, 16, 100} {
		b.Run(map[int]string{1: "1", 16: "16", 100: "100"}[n], func(b *testing.B) { unary(b, n) })
	}
}

func unary(b *testing.B, concurrency int) {
	message := make([]byte, 100)
	var pool sync.Pool
	pool.New = func() any {
		r := &middleware.Response{Status: 200, ContentLength: -1}
		r.Header.Add("content-type", "application/grpc")
		r.Trailer.Add("grpc-status", "0")
		return r
	}
	address := server(b, Options{}, func(s *Stream) {
		var buf [1 << 10]byte
		for {
			if _, err := s.Read(buf[:]); err != nil {
				break
			}
		}
		r := pool.Get().(*middleware.Response)
		_ = s.WriteResponse(r, false)
		_, _ = s.WriteData(message, false)
		_ = s.WriteTrailer(&r.Trailer)
		s.Finish()
		pool.Put(r)
	})
	c := dialClient(b, address, Options{})
	<-c.Ready()
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for i := range concurrency {
		wg.Go(func() {
			r := middleware.Request{Method: []byte("POST"), Scheme: []byte("http"), Authority: []byte("a"), Target: []byte("/p.S/M"), ContentLength: -1}
			r.Header.Add("content-type", "application/grpc")
			r.Header.Add("te", "trailers")
			var buf [1 << 10]byte
			for n := b.N/concurrency + min(1, max(0, b.N%concurrency-i)); n > 0; n-- {
				s, err := c.Open()
				if err != nil {
					b.Error(err)
					return
				}
				if err := s.WriteRequest(&r, RequestOptions{}, false); err != nil {
					b.Error(err)
				}
				_, _ = s.WriteData(message, true)
				if _, err := s.AwaitHead(); err != nil {
					b.Error(err)
				}
				for {
					if _, err := s.Read(buf[:]); err != nil {
						if err != io.EOF {
							b.Error(err)
						}
						break
					}
				}
				s.Finish()
			}
		})
	}
	wg.Wait()
}
