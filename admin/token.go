package admin

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Role is what a caller may do.
type Role uint8

// The roles. The zero Role may do nothing.
const (
	// RoleViewer may read: List, Get, Watch and reflection.
	RoleViewer Role = iota + 1
	// RoleOperator may change rollouts as well, and all else.
	RoleOperator
	// RoleReporter may report outcomes, and nothing else: it is for client programs.
	RoleReporter
)

// String returns the role as the config file writes it.
func (r Role) String() string {
	switch r {
	case RoleViewer:
		return "viewer"
	case RoleOperator:
		return "operator"
	case RoleReporter:
		return "reporter"
	}
	return "none"
}

// ParseRole is the inverse of Role.String.
func ParseRole(s string) (Role, error) {
	for _, r := range []Role{RoleViewer, RoleOperator, RoleReporter} {
		if r.String() == s {
			return r, nil
		}
	}
	return 0, fmt.Errorf("role %q: want viewer, operator or reporter", s)
}

// Token is one credential, sent as `Authorization: Bearer SECRET`.
type Token struct {
	// Name is who the caller is in audit and history.
	Name string
	Role Role
	// File holds the secret; spaces around it don't count. It is read again within a
	// second of its use, so that a secret can be changed without a restart.
	File string
	// Secret is used where File is empty.
	Secret string
}

const (
	maxSecretBytes = 4 << 10
	weakSecret     = 16
	rereadEvery    = time.Second
)

// keyring knows the tokens by the hashes of their secrets, so that comparing takes the
// same time whatever is presented.
type keyring struct {
	tokens []Token
	now    func() time.Time
	logger *slog.Logger

	mu     sync.Mutex
	hashes [][sha256.Size]byte // all zero: no secret now, and nothing matches
	usable []bool
	read   time.Time
}

func newKeyring(tokens []Token, now func() time.Time, logger *slog.Logger) (*keyring, error) {
	k := &keyring{tokens: tokens, now: now, logger: logger, read: now(),
		hashes: make([][sha256.Size]byte, len(tokens)), usable: make([]bool, len(tokens))}
	names, secrets := map[string]bool{}, map[[sha256.Size]byte]string{}
	for i, t := range tokens {
		switch {
		case t.Name == "":
			return nil, fmt.Errorf("token %d: name is empty; it stands in the audit log", i)
		case names[t.Name]:
			return nil, fmt.Errorf("token %q: the name is used twice", t.Name)
		case t.Role < RoleViewer || t.Role > RoleReporter:
			return nil, fmt.Errorf("token %q: no role; want viewer, operator or reporter", t.Name)
		}
		names[t.Name] = true
		secret, err := t.load()
		if err != nil {
			return nil, fmt.Errorf("token %q: %w", t.Name, err)
		}
		if len(secret) < weakSecret {
			logger.Warn("admin token is short and can be guessed; make one with `openssl rand -hex 32`", "token", t.Name, "bytes", len(secret))
		}
		k.hashes[i], k.usable[i] = sha256.Sum256(secret), true
		if other, twice := secrets[k.hashes[i]]; twice {
			return nil, fmt.Errorf("token %q: same secret as token %q, so the audit could not tell them apart", t.Name, other)
		}
		secrets[k.hashes[i]] = t.Name
	}
	return k, nil
}

// load returns the secret, which is never empty.
func (t Token) load() ([]byte, error) {
	if t.File == "" {
		if t.Secret == "" {
			return nil, errors.New("neither file nor secret")
		}
		return []byte(t.Secret), nil
	}
	f, err := os.Open(t.File)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecretBytes+1))
	if err != nil {
		return nil, err
	}
	b = bytes.TrimSpace(b)
	switch {
	case len(b) == 0:
		return nil, fmt.Errorf("file %s is empty; write the secret into it", t.File)
	case len(b) > maxSecretBytes:
		return nil, fmt.Errorf("file %s holds more than %d bytes; want one secret", t.File, maxSecretBytes)
	}
	return b, nil
}

// open tells whether there are no tokens at all, so that addresses decide.
func (k *keyring) open() bool { return len(k.tokens) == 0 }

// find returns the token that has this secret.
func (k *keyring) find(secret string) (Token, bool) {
	presented := sha256.Sum256([]byte(secret))
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := k.now(); now.Sub(k.read) >= rereadEvery {
		k.read = now
		k.reread()
	}
	found := -1
	for i := range k.tokens {
		same := subtle.ConstantTimeCompare(presented[:], k.hashes[i][:]) == 1
		if same && k.usable[i] && found < 0 {
			found = i
		}
	}
	if found < 0 {
		return Token{}, false
	}
	return k.tokens[found], true
}

// reread takes up changed files. A secret whose file is gone or empty is refused until
// it is back: removing the file is how a leaked secret is revoked in a hurry.
func (k *keyring) reread() {
	for i, t := range k.tokens {
		if t.File == "" {
			continue
		}
		secret, err := t.load()
		switch {
		case err != nil && k.usable[i]:
			k.logger.Error("admin token refused until its file can be read; restore the file", "token", t.Name, "error", err)
		case err == nil && !k.usable[i]:
			k.logger.Info("admin token's file is back", "token", t.Name)
		case err == nil && sha256.Sum256(secret) != k.hashes[i]:
			k.logger.Info("admin token has a new secret", "token", t.Name)
		}
		k.usable[i] = err == nil
		k.hashes[i] = [sha256.Size]byte{}
		if err == nil {
			k.hashes[i] = sha256.Sum256(secret)
		}
	}
}
