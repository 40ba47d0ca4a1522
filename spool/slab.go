package spool

const slabBytes = 64 << 10

// slab makes copies of small records that share one allocation. The zero value is ready.
type slab struct{ free []byte }

// copy returns a copy of b, which is never nil.
func (s *slab) copy(b []byte) []byte {
	if len(b) > cap(s.free)-len(s.free) {
		if len(b) > slabBytes/8 {
			return append([]byte{}, b...)
		}
		s.free = make([]byte, 0, slabBytes)
	}
	n := len(s.free)
	s.free = append(s.free, b...)
	return s.free[n:len(s.free):len(s.free)]
}
