package outcome

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// keyBytes is the size of the key that tickets are signed with.
const keyBytes = 32

// keyName is the file in Options.Dir of a key that was made here.
const keyName = "ticket.key"

// readKey reads a key: 32 bytes, or their 64 hexadecimal digits.
func readKey(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(b) == keyBytes {
		return b, nil
	}
	key, err := hex.DecodeString(string(bytes.TrimSpace(b)))
	if err != nil || len(key) != keyBytes {
		return nil, fmt.Errorf("%s: want a key of %d bytes, or their %d hexadecimal digits; make one with `openssl rand -hex %d`", path, keyBytes, 2*keyBytes, keyBytes)
	}
	return key, nil
}

// ownKey returns the key in the desk's folder, made where there is none. Nobody else is
// there: the caller holds the folder's database.
func ownKey(dir string) (key []byte, err error) {
	path := filepath.Join(dir, keyName)
	key, err = readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key = make([]byte, keyBytes)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	return key, writeWhole(path, []byte(hex.EncodeToString(key)+"\n"))
}

// writeWhole makes a file that is there whole or not at all, also after a power loss.
func writeWhole(path string, b []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // its mode is 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
