package server

import (
	"errors"

	"go-micro.dev/v4/registry"
	"go-micro.dev/v4/server"
)

// errNoHandlers is said to who gives the proxy a handler of its own.
var errNoHandlers = errors.New("server: the proxy takes no handlers and no subscribers: what it serves is the app that its configuration names")

// Handle takes Go-Micro's internal handlers (debug), which have no place in a
// proxy and are left out; any other is refused.
func (s *Server) Handle(h server.Handler) error {
	if h.Options().Internal {
		return nil
	}
	return errNoHandlers
}

// NewHandler makes a handler for Handle to look at.
func (s *Server) NewHandler(h any, opts ...server.HandlerOption) server.Handler {
	o := server.HandlerOptions{Metadata: map[string]map[string]string{}}
	for _, opt := range opts {
		opt(&o)
	}
	return handler{h, o}
}

// Subscribe refuses every subscriber.
func (s *Server) Subscribe(server.Subscriber) error { return errNoHandlers }

// NewSubscriber makes a subscriber for Subscribe to look at.
func (s *Server) NewSubscriber(topic string, h any, opts ...server.SubscriberOption) server.Subscriber {
	return subscriber{topic, h, server.NewSubscriberOptions(opts...)}
}

type handler struct {
	handler any
	options server.HandlerOptions
}

func (h handler) Name() string                    { return "" }
func (h handler) Handler() any                    { return h.handler }
func (h handler) Endpoints() []*registry.Endpoint { return nil }
func (h handler) Options() server.HandlerOptions  { return h.options }

type subscriber struct {
	topic   string
	handler any
	options server.SubscriberOptions
}

func (s subscriber) Topic() string                     { return s.topic }
func (s subscriber) Subscriber() any                   { return s.handler }
func (s subscriber) Endpoints() []*registry.Endpoint   { return nil }
func (s subscriber) Options() server.SubscriberOptions { return s.options }
