package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are taken from below the range that Linux gives to outgoing connections (32768 and up): a port from within it may
// be somebody's outgoing connection at the very moment when a killed component wants it back.
const (
	firstPort = 20000
	lastPort  = 29999
)

// A reservation is a number that no other cluster on this machine has. It lasts as long as somebody holds it.
type reservation struct {
	number int
	lock   net.Listener
}

// reserve takes the number if no other cluster has it. The lock is a socket in Linux' abstract namespace: unlike a file it is
// gone with its process, whatever ends that.
func reserve(kind string, number int) (*reservation, bool) {
	lock, err := net.Listen("unix", fmt.Sprintf("@whetstone-cluster/%s/%d", kind, number))
	if err != nil {
		return nil, false
	}
	return &reservation{number: number, lock: lock}, true
}

// reservePort finds a free port of the loopback interface and keeps other clusters from taking it.
func reservePort() (*reservation, error) {
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		reserved, ok := reserve("port", port)
		if !ok {
			continue
		}
		probe, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			reserved.release()
			continue
		}
		if err := probe.Close(); err != nil {
			return nil, fmt.Errorf("close port %d after a probe: %w", port, err)
		}
		return reserved, nil
	}
	return nil, errors.New("find a free port on 127.0.0.1: a hundred tries between 20000 and 29999 failed")
}

func (r *reservation) release() { _ = r.lock.Close() }
