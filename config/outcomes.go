package config

import "time"

// Outcomes is how reports of what came of predictions are taken.
type Outcomes struct {
	// Dir is the outcomes' alone. It is made if it is missing.
	Dir string
	// Window is how long requests are remembered, and the latest that an outcome may come.
	Window time.Duration
	// MaxBytes bounds what is remembered on disk.
	MaxBytes int64
	// KeyFile holds the key that tickets are signed with; empty for one that is made in Dir.
	KeyFile string
	// Kafka is a topic of reports; nil for none.
	Kafka *OutcomesKafka
}

// OutcomesKafka is the topic that outcomes are reported on.
type OutcomesKafka struct {
	Brokers []string
	Topic   string
	// Group is the consumer group.
	Group string
	// TLS is nil for plaintext, SASL for none.
	TLS  *ClientTLS
	SASL *SASL
}

// mostWindow bounds Outcomes.Window.
const mostWindow = 30 * 24 * time.Hour

// outcomes reads the section. Without it none are taken.
func (d *document) outcomes(root object, c *Config) {
	o, ok := root.section("outcomes", keys{
		known: []string{"dir", "window", "maxBytes", "keyFile", "kafka"},
		hints: map[string]string{
			"path":    "the outcomes' folder is called dir",
			"key":     "write the key to a file of its own and name that in keyFile",
			"horizon": "how late an outcome counts is its gate's horizon; window is how long anything is remembered",
		},
	})
	if !ok {
		return
	}
	c.Outcomes = &Outcomes{Dir: "/var/lib/understudy/outcomes", Window: 24 * time.Hour, MaxBytes: 1 << 30}
	o.string("dir", &c.Outcomes.Dir, "the path of a folder")
	o.duration("window", &c.Outcomes.Window, time.Minute, mostWindow)
	size(o, "maxBytes", &c.Outcomes.MaxBytes, 1<<20, mostBytes)
	o.string("keyFile", &c.Outcomes.KeyFile, "the path of a file with the key")
	k, ok := o.section("kafka", keys{
		known: []string{"brokers", "topic", "group", "tls", "sasl"},
		hints: map[string]string{
			"broker":   "brokers is a list of host:port",
			"encoding": "messages are JSON, or protobuf where their content-type says so",
			"groupId":  "the consumer group is called group",
		},
	})
	if ok {
		c.Outcomes.Kafka = d.outcomesKafka(k)
	}
}

func (d *document) outcomesKafka(o object) *OutcomesKafka {
	k := &OutcomesKafka{Topic: "understudy.outcomes", Group: "understudy"}
	o.need("brokers", `a list of "host:port"`)
	if n, ok := o.fields["brokers"]; ok {
		k.Brokers = n.brokers()
	}
	o.topic("topic", &k.Topic)
	o.string("group", &k.Group, "the name of a consumer group")
	k.TLS = o.tlsClient()
	k.SASL = d.sasl(o, k.TLS)
	return k
}
