package outcome

import (
	bolt "go.etcd.io/bbolt"
)

// maxTrimmed bounds the reports that leave the log in one transaction, for those who
// report wait for it.
const maxTrimmed = 10_000

// tidy lets the hours leave that are wholly older than the window.
func (d *Desk) tidy() {
	first := hourOfMillis(d.opts.Clock().Add(-d.opts.Window).UnixMilli())
	if first <= d.tidied {
		return
	}
	done := true
	err := d.file.update(func(tx *bolt.Tx) (err error) {
		if err = dropHours(tx.Bucket(idsBucket), first); err == nil {
			done, err = d.forget(tx, first)
		}
		return err
	})
	if err != nil {
		d.log.Error("outcomes that are over can't be removed; tried again in a minute", "error", err)
		return
	}
	d.floor = max(d.floor, first)
	if done {
		d.tidied = first
	}
}

// bound lets the oldest hours leave while the file holds more than it may: first those of
// ids, without which tickets still do, then what was reported.
func (d *Desk) bound() {
	for {
		used, err := d.file.used()
		if err != nil || used <= d.opts.MaxBytes {
			return
		}
		freed, floor := false, d.floor
		err = d.file.update(func(tx *bolt.Tx) (err error) {
			ids := tx.Bucket(idsBucket)
			if k, _ := ids.Cursor().First(); k != nil {
				freed = true
				return ids.DeleteBucket(k)
			}
			oldest, ok := oldestIn(tx)
			if !ok {
				return nil
			}
			freed, floor = true, max(floor, oldest+1)
			_, err = d.forget(tx, oldest+1)
			return err
		})
		if err != nil || !freed {
			return
		}
		if floor > d.floor {
			d.floor = floor
			d.log.Warn("outcomes take more than maxBytes: the oldest hour of reports left early, and its requests' outcomes are answered expired; raise outcomes.maxBytes", "bytes", used)
		}
	}
}

// oldestIn returns the oldest hour of which something is known beside ids.
func oldestIn(tx *bolt.Tx) (oldest hour, ok bool) {
	k, _ := tx.Bucket(seenBucket).Cursor().First()
	oldest = hourIn(k)
	models := tx.Bucket(logBucket)
	_ = models.ForEachBucket(func(model []byte) error {
		if _, entry := models.Bucket(model).Cursor().First(); entry != nil {
			oldest, ok = min(oldest, cameIn(entry)), true
		}
		return nil
	})
	return oldest, ok || k != nil
}

// forget removes what is known of the hours before first: which outcomes of their requests
// were reported, and the reports that came then. done is false where reports are left.
func (d *Desk) forget(tx *bolt.Tx, first hour) (done bool, err error) {
	if err := dropHours(tx.Bucket(seenBucket), first); err != nil {
		return false, err
	}
	if first > floorIn(tx) {
		if err := tx.Bucket(metaBucket).Put(floorKey, first.key()); err != nil {
			return false, err
		}
	}
	left := maxTrimmed
	models := tx.Bucket(logBucket)
	err = models.ForEachBucket(func(model []byte) error {
		n, err := trim(models.Bucket(model), first, left)
		left -= n
		return err
	})
	return left > 0, err
}

// dropHours deletes the hours before first.
func dropHours(hours *bolt.Bucket, first hour) error {
	for {
		k, _ := hours.Cursor().First()
		if k == nil || hourIn(k) >= first {
			return nil
		}
		if err := hours.DeleteBucket(k); err != nil {
			return err
		}
	}
}

// trim deletes a log's entries of reports that came before first, at most so many.
func trim(entries *bolt.Bucket, first hour, most int) (n int, err error) {
	var old [][]byte
	c := entries.Cursor()
	for k, v := c.First(); k != nil && cameIn(v) < first && len(old) < most; k, v = c.Next() {
		old = append(old, k)
	}
	for _, k := range old {
		if err := entries.Delete(k); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
