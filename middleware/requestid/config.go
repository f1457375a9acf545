package requestid

// Config is the configuration of a requestid entry.
type Config struct {
	// Trust says whether an id that came with the request is taken. Left out,
	// it is false on a gateway, whose clients are strangers, and true elsewhere.
	Trust *bool
}

func defaults() Config { return Config{} }
