package app

import (
	"crypto/tls"
	"os"
	"sync"
	"time"
)

// renewing is a listener's key pair that follows its files.
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
		return err
	}
	pair, err := keyPair(r.cert, r.key)
	if err != nil {
		return err
	}
	r.pair, r.read = pair[0], info.ModTime()
	return nil
}

// get returns the newest pair that could be read; a half-written renewal leaves the old one.
func (r *renewing) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
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
