package app

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"
)

// renewing is a key pair that follows its files.
type renewing struct {
	cert, key string

	mu      sync.Mutex
	pair    tls.Certificate
	read    time.Time // of the certificate file, when it was read
	checked time.Time
}

// recheck is how often a handshake looks whether the certificate file changed.
const recheck = 10 * time.Second

func (r *renewing) load() error {
	info, err := os.Stat(r.cert)
	if err != nil {
		return fmt.Errorf("read certificate: %w", err)
	}
	pair, err := tls.LoadX509KeyPair(r.cert, r.key)
	if err != nil {
		return fmt.Errorf("read certificate %s with key %s: %w", r.cert, r.key, err)
	}
	r.pair, r.read = pair, info.ModTime()
	return nil
}

// get returns the newest pair that could be read; a half-written renewal leaves the old one.
func (r *renewing) get() (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.checked) > recheck {
		r.checked = now
		if info, err := os.Stat(r.cert); err == nil && !info.ModTime().Equal(r.read) {
			_ = r.load() // the pair at hand serves until the files fit again
		}
	}
	pair := r.pair
	return &pair, nil
}
