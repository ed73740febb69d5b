package main

import (
	"go.etcd.io/etcd/server/v3/etcdmain"
)

func etcdMain(args []string) {
	etcdmain.Main(append([]string{"etcd"}, args...))
}

// etcdArguments are for a single member that forgets what a power failure takes: fsync is most of the time of a write.
func etcdArguments(c *cluster) []string {
	peerURL := "http://" + c.etcdPeerAddress
	return []string{
		"--name=whetstone",
		"--data-dir=" + c.path("etcd"),
		"--unsafe-no-fsync",
		"--listen-client-urls=" + c.etcdURL(),
		"--advertise-client-urls=" + c.etcdURL(),
		"--listen-peer-urls=" + peerURL,
		"--initial-advertise-peer-urls=" + peerURL,
		"--initial-cluster=whetstone=" + peerURL,
		"--snapshot-count=10000",
		"--log-level=warn",
	}
}
