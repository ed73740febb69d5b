package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	pkiFolder    = "pki"
	readyTimeout = 2 * time.Minute
	pollInterval = 50 * time.Millisecond
)

var loopback = netip.MustParseAddr("127.0.0.1")

// cluster is what the components' arguments are made from.
type cluster struct {
	dir       string
	pki       *pki
	binaries  binaries
	processes *processes

	etcdAddress     string
	etcdPeerAddress string
	apiServerIP     netip.Addr
	apiServerPort   int
	serviceCIDR     netip.Prefix

	// Kept, because a reservation ends when it is collected as garbage.
	reservations []*reservation

	node *node // nil in a cluster that only serves the API
}

func (c *cluster) path(name string) string { return filepath.Join(c.dir, name) }

func (c *cluster) etcdURL() string { return "http://" + c.etcdAddress }

func (c *cluster) serverURL() string {
	return "https://" + netip.AddrPortFrom(c.apiServerIP, uint16(c.apiServerPort)).String()
}

// announcement is the line on standard output that says: the cluster is ready, and this is where it is.
type announcement struct {
	Kubeconfig string `json:"kubeconfig"`
	Server     string `json:"server"`
	Dir        string `json:"dir"`
	Pids       string `json:"pids"`
	AuditLog   string `json:"auditLog"`
	*nodeAnnouncement
}

func runUp(args []string) error {
	flags := flag.NewFlagSet("up", flag.ContinueOnError)
	dir := flags.String("dir", "", "folder of the cluster; must be empty or not there yet")
	withNode := flags.Bool("node", false, "run pods too, on a node in a sandbox on this machine (needs root)")
	remove := flags.Bool("rm", false, "remove the folder on the way out")
	untilStdinCloses := flags.Bool("until-stdin-closes", false, "stop when standard input ends, so as never to outlive the parent")
	assets := flags.String("kubebuilder-assets", os.Getenv("KUBEBUILDER_ASSETS"),
		"folder with etcd and kube-apiserver to run instead of the built-in ones (default $KUBEBUILDER_ASSETS)")
	if err := parseFlags(flags, args); err != nil {
		return err
	}
	if err := requireFlag("dir", *dir); err != nil {
		return err
	}

	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer cancel()
	if *untilStdinCloses {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin) // However it ends, nobody is there any more.
			cancel()
		}()
	}

	absolute, err := makeEmptyFolder(*dir)
	if err != nil {
		return err
	}
	if *remove {
		defer os.RemoveAll(absolute)
	}
	return up(ctx, absolute, *assets, *withNode)
}

// makeEmptyFolder makes the cluster's folder. It is not ours to empty one that has something in it.
func makeEmptyFolder(dir string) (string, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the absolute path of %s: %w", dir, err)
	}
	if err := os.MkdirAll(absolute, 0o700); err != nil {
		return "", fmt.Errorf("make the cluster's folder: %w", err)
	}
	entries, err := os.ReadDir(absolute)
	if err != nil {
		return "", fmt.Errorf("look into the cluster's folder: %w", err)
	}
	if len(entries) > 0 {
		return "", fmt.Errorf("start a cluster in %s: the folder is not empty; remove it or name another", absolute)
	}
	return absolute, nil
}

// up runs a cluster until ctx ends or a component cannot be kept alive.
func up(ctx context.Context, dir, assets string, withNode bool) (err error) {
	c, err := prepare(dir, assets, withNode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()

	if err := c.start(); err != nil {
		return err
	}
	if err := c.watchFor(ctx, c.waitUntilReady); err != nil {
		return ignoreStop(ctx, err)
	}
	if err := c.announce(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-c.processes.failed:
		return err
	}
}

// prepare decides on everything that the components must agree on, and writes the files that they share.
func prepare(dir, assets string, withNode bool) (*cluster, error) {
	binaries, err := newBinaries(assets)
	if err != nil {
		return nil, err
	}
	c := &cluster{dir: dir, binaries: binaries, processes: newProcesses(dir)}
	if withNode {
		err = c.addressOnNode()
	} else {
		err = c.addressOnLoopback()
	}
	if err != nil {
		return nil, err
	}
	return c, c.writeFiles()
}

// addressOnLoopback finds ports beside those of other clusters.
func (c *cluster) addressOnLoopback() error {
	var ports [3]int
	for i := range ports {
		port, err := reservePort()
		if err != nil {
			return err
		}
		ports[i] = port.number
		c.reservations = append(c.reservations, port)
	}
	c.etcdAddress = netip.AddrPortFrom(loopback, uint16(ports[0])).String()
	c.etcdPeerAddress = netip.AddrPortFrom(loopback, uint16(ports[1])).String()
	c.apiServerIP, c.apiServerPort = loopback, ports[2]
	c.serviceCIDR = netip.MustParsePrefix("10.0.0.0/24")
	return nil
}

// addressOnNode takes the usual ports: the node has a network of its own.
func (c *cluster) addressOnNode() error {
	node, number, err := newNode(c.binaries.self)
	if err != nil {
		return err
	}
	c.node = node
	c.reservations = append(c.reservations, number)
	c.etcdAddress = netip.AddrPortFrom(loopback, 2379).String()
	c.etcdPeerAddress = netip.AddrPortFrom(loopback, 2380).String()
	c.apiServerIP, c.apiServerPort = c.node.ip, 6443
	c.serviceCIDR = c.node.serviceCIDR
	return nil
}

func (c *cluster) writeFiles() (err error) {
	if c.pki, err = newPKI(c.path(pkiFolder)); err != nil {
		return err
	}
	names := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	// The first address of the range is the API server's own service.
	addresses := []net.IP{c.apiServerIP.AsSlice(), c.serviceCIDR.Addr().Next().AsSlice()}
	admin := identity{user: "kubernetes-admin", groups: []string{"system:masters"}}
	if c.node != nil {
		if err := c.issueNodeCertificates(); err != nil {
			return err
		}
	}
	return errors.Join(
		c.pki.issueServer("apiserver", names, addresses),
		c.pki.issueKubeconfig(c.path("kubeconfig"), c.serverURL(), admin),
		writeAuditPolicy(c.path("audit-policy.yaml")),
	)
}

func (c *cluster) start() error {
	var where place
	if c.node != nil {
		if err := c.startNode(); err != nil {
			return err
		}
		where = c.node.sandbox.network()
	}
	for _, component := range []struct {
		key, name string
		args      []string
	}{
		{"etcd", "etcd", etcdArguments(c)},
		{"apiserver", "kube-apiserver", apiServerArguments(c)},
		{"controllerManager", "kube-controller-manager", controllerManagerArguments(c)},
	} {
		argv := c.binaries.command(component.name, component.args)
		if err := c.processes.start(component.key, component.name, argv, where); err != nil {
			return err
		}
	}
	if c.node != nil {
		return c.startNodeComponents()
	}
	return nil
}

func (c *cluster) stop() error {
	c.processes.stopAll()
	if c.node != nil {
		return c.stopNode()
	}
	return nil
}

// watchFor waits, but no longer than all components can be kept alive.
func (c *cluster) watchFor(ctx context.Context, waitUntil func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- waitUntil(ctx) }()
	select {
	case err := <-done:
		return err
	case err := <-c.processes.failed:
		return err
	}
}

// waitUntilReady waits for what tests take for granted: an API server that is ready, and the first work of the controller
// manager, the service account without which no pod is admitted; and for the node.
func (c *cluster) waitUntilReady(ctx context.Context) error {
	if c.node != nil {
		if err := c.importPauseImage(ctx); err != nil {
			return err
		}
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.path("kubeconfig"))
	if err != nil {
		return fmt.Errorf("read our own kubeconfig: %w", err)
	}
	config.UserAgent = "whetstone-cluster"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}

	var last error
	ready := func(ctx context.Context) (bool, error) {
		if _, last = client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); last != nil {
			return false, nil
		}
		if _, last = client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{}); last != nil {
			return false, nil
		}
		if c.node != nil {
			last = c.node.checkNodeReady(ctx, client)
		}
		return last == nil, nil
	}
	if err := wait.PollUntilContextCancel(ctx, pollInterval, true, ready); err != nil {
		return fmt.Errorf("wait for the API server, the default service account and the node, if any: %w (last answer: %w); the logs are in %s", err, last, c.dir)
	}
	return nil
}

func (c *cluster) announce() error {
	said := announcement{
		Kubeconfig: c.path("kubeconfig"),
		Server:     c.serverURL(),
		Dir:        c.dir,
		Pids:       c.path("pids.json"),
		AuditLog:   c.path("audit.log"),
	}
	if c.node != nil {
		said.nodeAnnouncement = c.node.announcement()
	}
	line, err := json.Marshal(said)
	if err != nil {
		return fmt.Errorf("encode the announcement: %w", err)
	}
	if _, err := fmt.Println(string(line)); err != nil {
		return fmt.Errorf("announce the cluster on standard output: %w", err)
	}
	return nil
}

// ignoreStop drops the error of a wait that was asked to stop: that is no failure.
func ignoreStop(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
