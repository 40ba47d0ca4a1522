package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"
	"time"

	"github.com/understudy-serving/understudy/kafkatest"
)

// modelName is what clients ask for.
const modelName = "risk"

// arm is one proxy in one set-up.
type arm struct {
	// name is how results call it, peer what it is one of: "understudy", "nginx", ...
	name, peer string
	// file and script are its configuration.
	file, script string
	// play is what differs between arms with the same script.
	play play
	// command starts it, from its folder.
	command []string
	// apart arms stand in no cell: they are for the race, or the overload.
	apart bool
}

// play is what configurations are made from.
type play struct {
	Listen, Admin        string
	Champion, Challenger string
	// Weight is the challenger's share in percent, 0 for none.
	Weight int
	// Mirror says that the challenger gets copies.
	Mirror bool
	// Mode is understudy's; Uncopied says that in shadow nothing is copied.
	Mode     string
	Uncopied bool
	// Dir is the arm's folder. User has nginx's workers run as who started it.
	Dir, User string
}

// Rest is the champion's share.
func (p play) Rest() int { return 100 - p.Weight }

// Part splits an address.
func (p play) Part(addr, which string) string {
	host, port, _ := strings.Cut(addr, ":")
	if which == "host" {
		return host
	}
	return port
}

// The names of arms that goals speak of.
const (
	direct     = "direct"
	champion   = "understudy champion"
	twin       = "understudy champion again"
	shadowing  = "understudy shadow"
	shadowSlow = "understudy shadow, slow challenger"
	shadowHung = "understudy shadow, hung challenger"
	shadowDead = "understudy shadow, dead challenger"
	// shadowUncopied makes the records, and next to no copies: its sample is the least there is.
	shadowUncopied = "understudy shadow, no copies"
	// shadowLimited has models that answer so many a second and no more.
	shadowLimited = "understudy shadow, models at their limit"
	canarying     = "understudy canary 10%"
	remarshaller  = "grpc-go, decoding"
	nginx         = "nginx"
	haproxy       = "HAProxy"
	envoy         = "Envoy"

	// other ends the names of another build's arms.
	other = ", other build"
)

// arms lists what is measured; b knows where the backends listen.
func (b *bench) arms() []arm {
	gateway := func(name, mode, challenger string, weight int) arm {
		return arm{name: name, peer: "understudy", file: "understudy.yaml", script: understudyScript,
			play:    play{Mode: mode, Challenger: challenger, Weight: weight},
			command: []string{b.gateway, "serve", "--log-level", "error", "--config", "understudy.yaml"}}
	}
	hung := gateway(shadowHung, "shadow", b.hung, 0)
	hung.apart = true
	limited := gateway(shadowLimited, "shadow", b.limited[1], 0)
	limited.play.Champion, limited.apart = b.limited[0], true
	uncopied := gateway(shadowUncopied, "shadow", b.challenger, 0)
	uncopied.play.Uncopied = true
	all := []arm{
		{name: direct, peer: direct},
		gateway(champion, "champion", "", 0),
		gateway(twin, "champion", "", 0),
		gateway(shadowing, "shadow", b.challenger, 0),
		gateway(shadowSlow, "shadow", b.slow, 0),
		gateway(shadowDead, "shadow", b.dead, 0),
		uncopied,
		gateway(canarying, "canary", b.challenger, 10),
		hung,
		limited,
		{name: remarshaller, peer: remarshaller, command: []string{b.self, "proxy", "{{.Listen}}", "{{.Champion}}"}},
	}
	if b.against != "" {
		for _, a := range all[1:8] {
			a.name, a.command = a.name+other, append([]string{b.against}, a.command[1:]...)
			all = append(all, a)
		}
	}
	for _, p := range b.peers {
		all = append(all,
			arm{name: p.name, peer: p.name, file: p.file, script: p.script, command: p.command},
			arm{name: p.name + " split 10%", peer: p.name, file: p.file, script: p.script, command: p.command, play: play{Weight: 10}})
		if p.mirrors {
			all = append(all, arm{name: p.name + " mirror", peer: p.name, file: p.file, script: p.script, command: p.command, play: play{Mirror: true}})
		}
	}
	return all
}

// standing is an arm that runs.
type standing struct {
	arm
	client  *client
	admin   string             // where understudy's metrics are
	process *kafkatest.Process // nil for direct
	tree    tree
}

// start makes an arm's folder and process, and returns when it answers.
func (b *bench) start(ctx context.Context, a arm) (*standing, error) {
	s := &standing{arm: a}
	addr := b.champion
	if a.name != direct {
		var err error
		if addr, err = b.spawn(s); err != nil {
			return s, fmt.Errorf("%s: %w", a.name, err)
		}
	}
	var err error
	if s.client, err = newClient(addr); err != nil {
		return s, err
	}
	if err := s.awaitAnswer(ctx); err != nil {
		return s, fmt.Errorf("%s does not answer: %w; its log is in %s", a.name, err, b.dir)
	}
	if s.process != nil {
		s.tree = treeOf(s.process.PID())
	}
	return s, nil
}

// spawn writes the configuration and starts the process; addr is where it will listen.
func (b *bench) spawn(s *standing) (addr string, err error) {
	p := s.play
	p.Dir = filepath.Join(b.dir, strings.Map(plainRune, s.name))
	if err := os.MkdirAll(p.Dir, 0o755); err != nil {
		return "", err
	}
	for _, at := range []*string{&p.Listen, &p.Admin} {
		if *at, err = freeAddr(); err != nil {
			return "", err
		}
	}
	if p.Champion == "" {
		p.Champion = b.champion
	}
	if p.Challenger == "" {
		p.Challenger = b.challenger
	}
	if os.Getuid() == 0 {
		p.User = "root"
	}
	if s.file != "" {
		text, err := p.fill(s.script)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(p.Dir, s.file), []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	s.admin = p.Admin
	s.process, err = b.run(p, s.command)
	return p.Listen, err
}

// run starts a command whose words may name fields of p, in its folder.
func (b *bench) run(p play, words []string) (*kafkatest.Process, error) {
	log, err := os.Create(filepath.Join(p.Dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own
	// Spawn has no folder to start in, and some only know paths relative to it.
	argv := []string{"-c", `cd "$0" && exec "$@"`, p.Dir}
	for _, w := range words {
		filled, err := p.fill(w)
		if err != nil {
			return nil, err
		}
		argv = append(argv, filled)
	}
	return kafkatest.Spawn(log, "sh", argv...)
}

func (p play) fill(text string) (string, error) {
	t, err := template.New("").Parse(text)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	err = t.Execute(&out, p)
	return out.String(), err
}

func plainRune(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
		return r
	}
	return '-'
}

// awaitAnswer calls until there is an answer on every connection.
func (s *standing) awaitAnswer(ctx context.Context) error {
	call := s.client.sending(newMessages(smallSize))
	deadline := time.Now().Add(15 * time.Second)
	for n := 0; n < connections; {
		err := call(ctx, n)
		switch {
		case err == nil:
			n++
		case time.Now().After(deadline) || ctx.Err() != nil:
			return err
		default:
			pause(ctx, 50*time.Millisecond)
			for _, c := range s.client.conns {
				c.ResetConnectBackoff()
			}
		}
	}
	return nil
}

// stop ends the process.
func (s *standing) stop() {
	if s.client != nil {
		s.client.close()
	}
	if s.process == nil {
		return
	}
	s.process.Signal(syscall.SIGTERM)
	select {
	case <-s.process.Done():
	case <-time.After(3 * time.Second):
		s.process.Signal(syscall.SIGKILL)
		<-s.process.Done()
	}
}
