package kafkatest

import (
	"context"
	_ "embed" // pom.xml
	"encoding/xml"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

//go:embed pom.xml
var pom []byte

// Version returns the version of Apache Kafka that pom.xml pins.
func Version() string {
	var p struct {
		Version string `xml:"properties>kafka.version"`
	}
	if err := xml.Unmarshal(pom, &p); err != nil || p.Version == "" {
		panic(fmt.Sprintf("kafkatest: pom.xml names no kafka.version (%v)", err))
	}
	return p.Version
}

// resolveTimeout is for a first download over a slow line.
const resolveTimeout = 8 * time.Minute

// artifacts returns the folder with the broker's jars, resolving them where they are
// not there yet. Test binaries that want them at the same time take turns.
func artifacts() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	home := filepath.Join(root, "build", "kafka", Version())
	libs := filepath.Join(home, "libs")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(filepath.Join(home, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	done, err := isResolved(home)
	if err != nil || done {
		return libs, err
	}
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return "", fmt.Errorf("%w: Maven is not on the PATH (apt install maven), or set %s", ErrUnavailable, EnvBrokers)
	}
	return libs, resolve(mvn, home, libs)
}

// isResolved tells whether libs was filled by this very pom.xml.
func isResolved(home string) (bool, error) {
	used, err := os.ReadFile(filepath.Join(home, "resolved.xml"))
	if os.IsNotExist(err) {
		return false, nil
	}
	return string(used) == string(pom), err
}

// resolve fills libs. The copy of pom.xml that says so is renamed into place last.
func resolve(mvn, home, libs string) error {
	if err := os.RemoveAll(libs); err != nil {
		return err
	}
	using := filepath.Join(home, "pom.xml")
	if err := os.WriteFile(using, pom, 0o644); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), resolveTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, mvn, "-q", "-B", "-f", using,
		"dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+libs)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: mvn could not get Kafka %s: %w\n%s", ErrUnavailable, Version(), err, tail(string(out), 20))
	}
	return os.Rename(using, filepath.Join(home, "resolved.xml"))
}

// moduleRoot finds the folder of go.mod above the test's working directory.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no go.mod above the working directory; run the test inside the module")
		}
		dir = parent
	}
}
