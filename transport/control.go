package transport

import (
	"encoding/binary"

	"golang.org/x/net/http2"
)

// control acts on all frames but DATA and HEADERS.
func (c *conn) control(f frame, b []byte) error {
	switch f.kind {
	case http2.FrameSettings:
		return c.settings(f, b)
	case http2.FramePing:
		return c.ping(f, b)
	case http2.FrameWindowUpdate:
		return c.windowUpdate(f, b)
	case http2.FrameRSTStream:
		return c.reset(f, b)
	case http2.FrameGoAway:
		if f.stream != 0 || len(b) < 8 {
			return broken(http2.ErrCodeProtocol, "a malformed GOAWAY")
		}
		c.side.goAway(binary.BigEndian.Uint32(b)&maxWindow, http2.ErrCode(binary.BigEndian.Uint32(b[4:])), string(b[8:]))
	case http2.FramePriority:
		switch {
		case f.stream == 0:
			return broken(http2.ErrCodeProtocol, "PRIORITY of no stream")
		case len(b) != 5:
			return &streamError{f.stream, http2.ErrCodeFrameSize}
		case binary.BigEndian.Uint32(b)&maxWindow == f.stream:
			return &streamError{f.stream, http2.ErrCodeProtocol}
		}
	case http2.FramePushPromise, http2.FrameContinuation:
		return broken(http2.ErrCodeProtocol, "an unexpected %s", f.kind)
	}
	return nil
}

func (c *conn) settings(f frame, b []byte) error {
	if f.flags.Has(http2.FlagSettingsAck) && f.stream == 0 && len(b) == 0 {
		return nil
	}
	if err := c.apply(f, b); err != nil {
		return err
	}
	c.side.settled()
	return nil
}

func (c *conn) apply(f frame, b []byte) error {
	switch {
	case f.stream != 0:
		return broken(http2.ErrCodeProtocol, "SETTINGS of a stream")
	case f.flags.Has(http2.FlagSettingsAck), len(b)%6 != 0:
		return broken(http2.ErrCodeFrameSize, "SETTINGS of %d bytes", len(b))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for ; len(b) > 0; b = b[6:] {
		if err := c.set(http2.SettingID(binary.BigEndian.Uint16(b)), binary.BigEndian.Uint32(b[2:])); err != nil {
			return err
		}
	}
	c.queueLocked(func(b []byte) []byte {
		return frame{kind: http2.FrameSettings, flags: http2.FlagSettingsAck}.append(b)
	})
	c.pumpBlocked()
	return nil
}

// set applies one setting; c.mu is held.
func (c *conn) set(id http2.SettingID, v uint32) error {
	switch id {
	case http2.SettingHeaderTableSize:
		c.encoder.SetMaxDynamicTableSize(min(v, initialTableSize))
		c.epoch++
	case http2.SettingEnablePush:
		if v > 1 {
			return broken(http2.ErrCodeProtocol, "ENABLE_PUSH of %d", v)
		}
	case http2.SettingMaxConcurrentStreams:
		c.peer.streams = int(v)
	case http2.SettingInitialWindowSize:
		if v > maxWindow {
			return broken(http2.ErrCodeFlowControl, "INITIAL_WINDOW_SIZE of %d", v)
		}
		for _, s := range c.streams {
			if s.window += int(v) - c.peer.window; s.window > maxWindow {
				return broken(http2.ErrCodeFlowControl, "a window over 2^31-1")
			}
		}
		c.peer.window = int(v)
	case http2.SettingMaxFrameSize:
		if v < minFrameSize || v > maxFrameSize {
			return broken(http2.ErrCodeProtocol, "MAX_FRAME_SIZE of %d", v)
		}
		c.peer.frame = int(min(v, mostData)) // a longer one would have the queue to itself
	}
	return nil
}

func (c *conn) ping(f frame, b []byte) error {
	switch {
	case f.stream != 0:
		return broken(http2.ErrCodeProtocol, "PING of a stream")
	case len(b) != 8:
		return broken(http2.ErrCodeFrameSize, "PING of %d bytes", len(b))
	}
	data := [8]byte(b)
	if f.flags.Has(http2.FlagPingAck) {
		c.side.ponged(data)
		return nil
	}
	if err := c.side.pinged(); err != nil {
		return err
	}
	c.queue(func(b []byte) []byte { return appendPing(b, http2.FlagPingAck, data) })
	return nil
}

func (c *conn) windowUpdate(f frame, b []byte) error {
	if len(b) != 4 {
		return broken(http2.ErrCodeFrameSize, "WINDOW_UPDATE of %d bytes", len(b))
	}
	by := int(binary.BigEndian.Uint32(b) & maxWindow)
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.stream == 0 {
		if c.window += by; by == 0 || c.window > maxWindow {
			return broken(windowCode(by), "a WINDOW_UPDATE by %d", by)
		}
		c.pumpBlocked()
		return nil
	}
	s := c.streams[f.stream]
	if s == nil {
		return c.unknown(f)
	}
	if s.window += by; by == 0 || s.window > maxWindow {
		return &streamError{f.stream, windowCode(by)}
	}
	c.pumpBlocked()
	return nil
}

func windowCode(by int) http2.ErrCode {
	if by == 0 {
		return http2.ErrCodeProtocol
	}
	return http2.ErrCodeFlowControl
}

func (c *conn) reset(f frame, b []byte) error {
	if len(b) != 4 {
		return broken(http2.ErrCodeFrameSize, "RST_STREAM of %d bytes", len(b))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[f.stream]
	if s == nil {
		return c.unknown(f)
	}
	s.gone(http2.ErrCode(binary.BigEndian.Uint32(b)))
	return nil
}

// unknown judges a frame of a stream that does not exist: it may have, and this came late.
// c.mu is held.
func (c *conn) unknown(f frame) error {
	if f.stream == 0 || !c.side.stale(f.stream) {
		return broken(http2.ErrCodeProtocol, "%s of stream %d, which is not open", f.kind, f.stream)
	}
	return nil
}
