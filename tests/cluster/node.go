package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// node is the one machine of a cluster that runs pods: a sandbox on this machine with a network of its own.
type node struct {
	// number tells the clusters on this machine apart; everything below that has a name outside the sandbox is made from it.
	number      int
	name        string
	hostLink    string // our end of the cable
	cgroup      string // below the root of every hierarchy; all pods are in it
	ip          netip.Addr
	hostIP      netip.Addr // where pods reach what runs on this machine
	network     netip.Prefix
	podCIDR     netip.Prefix
	serviceCIDR netip.Prefix

	tools   nodeTools
	sandbox *sandbox
}

// nodeAnnouncement is what only a cluster with a node has to say.
type nodeAnnouncement struct {
	NetNS       string   `json:"netns"`
	NodeName    string   `json:"nodeName"`
	NodeIP      string   `json:"nodeIP"`
	HostIP      string   `json:"hostIP"`
	PodCIDR     string   `json:"podCIDR"`
	ServiceCIDR string   `json:"serviceCIDR"`
	Ctr         []string `json:"ctr"`
}

// nodeTools are the programs that we do not build: they come from the distribution.
type nodeTools struct {
	containerd string
	ctr        string
	cniFolder  string
	pause      string
}

func findNodeTools(self string) (nodeTools, error) {
	var tools nodeTools
	var missing []error
	find := func(name string) string {
		path, err := exec.LookPath(name)
		missing = append(missing, err)
		return path
	}
	tools.containerd = find("containerd")
	tools.ctr = find("ctr")
	find("runc")
	find("iptables")
	for _, folder := range []string{"/usr/lib/cni", "/opt/cni/bin"} {
		if _, err := os.Stat(filepath.Join(folder, "ptp")); err == nil {
			tools.cniFolder = folder
		}
	}
	if tools.cniFolder == "" {
		missing = append(missing, errors.New("no CNI plugins in /usr/lib/cni or /opt/cni/bin"))
	}
	if err := errors.Join(missing...); err != nil {
		return nodeTools{}, fmt.Errorf("find what a node needs: %w; tests/cluster/install-node.sh installs it", err)
	}
	tools.pause = filepath.Join(filepath.Dir(self), "pause")
	if _, err := os.Stat(tools.pause); err != nil {
		return nodeTools{}, fmt.Errorf("find the program of the pause image: %w; tests/cluster/build.sh builds it", err)
	}
	return tools, nil
}

// newNode finds a number, and with it addresses, that nobody else uses.
func newNode(self string) (*node, *reservation, error) {
	if os.Getuid() != 0 {
		return nil, nil, errors.New("a cluster with a node needs root: it makes namespaces, mounts and cgroups")
	}
	tools, err := findNodeTools(self)
	if err != nil {
		return nil, nil, err
	}
	for number := range 256 {
		n := describeNode(number)
		n.tools = tools
		if inUse, err := n.addressesInUse(); err != nil {
			return nil, nil, err
		} else if inUse {
			continue
		}
		if reserved, ok := reserve("node", number); ok {
			return n, reserved, nil
		}
	}
	return nil, nil, errors.New("find a free network for the node: each 10.250.N.0/30, 10.251.N.0/24, 10.252.N.0/24 overlaps with a route of this machine")
}

func describeNode(number int) *node {
	third := byte(number)
	return &node{
		number:      number,
		name:        fmt.Sprintf("node-%d", number),
		hostLink:    fmt.Sprintf("whetstone%d", number),
		cgroup:      fmt.Sprintf("whetstone-%d", number),
		hostIP:      netip.AddrFrom4([4]byte{10, 250, third, 1}),
		ip:          netip.AddrFrom4([4]byte{10, 250, third, 2}),
		network:     netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 250, third, 0}), 30),
		podCIDR:     netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 251, third, 0}), 24),
		serviceCIDR: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 252, third, 0}), 24),
	}
}

// startNode makes the sandbox and connects it; nothing runs in it yet.
func (c *cluster) startNode() error {
	if err := removeCgroups(c.node.cgroup); err != nil { // What a cluster left that was killed with all of its parents.
		return err
	}
	if err := makeCgroups(c.node.cgroup); err != nil {
		return err
	}
	var err error
	if c.node.sandbox, err = startSandbox(c.binaries.self, c.dir); err != nil {
		return err
	}
	return c.node.connect(c.node.sandbox.pid)
}

// stopNode ends everything in the sandbox. Processes, mounts and the network go with it; the rest is removed here.
func (c *cluster) stopNode() error {
	if c.node.sandbox != nil {
		c.node.sandbox.stop()
	}
	return errors.Join(c.node.disconnect(), removeCgroups(c.node.cgroup))
}

// issueNodeCertificates gives each of the node's programs the identity that Kubernetes' own roles expect.
func (c *cluster) issueNodeCertificates() error {
	n := c.node
	apiServer, err := c.pki.issueClient(identity{user: "kube-apiserver", groups: []string{"system:masters"}})
	if err != nil {
		return err
	}
	users := map[string]identity{
		"kubelet":        {user: "system:node:" + n.name, groups: []string{"system:nodes"}},
		"kube-proxy":     {user: "system:kube-proxy"},
		"kube-scheduler": {user: "system:kube-scheduler"},
	}
	for program, user := range users {
		if err := c.pki.issueKubeconfig(c.path(program+".kubeconfig"), c.serverURL(), user); err != nil {
			return err
		}
	}
	return errors.Join(
		c.pki.writePair("apiserver-kubelet-client", apiServer),
		c.pki.issueServer("kubelet", []string{n.name}, []net.IP{n.ip.AsSlice()}),
	)
}

func (c *cluster) startNodeComponents() error {
	n := c.node
	if err := errors.Join(writeContainerdConfig(c), writeCNIConfig(c), writeKubeletConfig(c)); err != nil {
		return err
	}
	for _, component := range []struct {
		key, name string
		argv      []string
		where     place
	}{
		{"scheduler", "kube-scheduler", c.builtin("kube-scheduler", schedulerArguments(c)), n.sandbox.network()},
		{"containerd", "containerd", containerdCommand(c), n.sandbox.machine()},
		{"kubelet", "kubelet", c.builtin("kubelet", kubeletArguments(c)), n.sandbox.machine()},
		{"kubeProxy", "kube-proxy", c.builtin("kube-proxy", kubeProxyArguments(c)), n.sandbox.machine()},
	} {
		if err := c.processes.start(component.key, component.name, component.argv, component.where); err != nil {
			return err
		}
	}
	return nil
}

// builtin is the command line of a component that only this binary has.
func (c *cluster) builtin(name string, args []string) []string {
	return binaries{self: c.binaries.self}.command(name, args)
}

// importPauseImage gives containerd the image of the process that holds each pod together.
func (c *cluster) importPauseImage(ctx context.Context) error {
	archive := c.path("pause.tar")
	if err := writeImage(imageSpec{name: pauseImage, binary: c.node.tools.pause, user: "65535"}, archive); err != nil {
		return err
	}
	defer os.Remove(archive)

	command := append(c.node.ctrCommand(), archive)
	for {
		output, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput()
		if err == nil {
			return nil
		}
		select { // containerd may not have made its socket yet.
		case <-ctx.Done():
			return fmt.Errorf("import the pause image: %w: %s", err, output)
		case <-time.After(pollInterval):
		}
	}
}

// ctrCommand is how images get into the cluster; an archive's path follows.
func (n *node) ctrCommand() []string {
	return []string{n.tools.ctr, "-a", n.sandbox.path(containerdSocket), "-n", "k8s.io", "images", "import"}
}

// checkNodeReady returns an error that says why the node cannot take pods yet.
func (n *node) checkNodeReady(ctx context.Context, client kubernetes.Interface) error {
	object, err := client.CoreV1().Nodes().Get(ctx, n.name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if len(object.Spec.Taints) > 0 {
		return fmt.Errorf("node %s has the taint %s", n.name, object.Spec.Taints[0].Key)
	}
	for _, condition := range object.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
			return nil
		}
	}
	return fmt.Errorf("node %s is not Ready", n.name)
}

func (n *node) announcement() *nodeAnnouncement {
	return &nodeAnnouncement{
		NetNS:       fmt.Sprintf("/proc/%d/ns/net", n.sandbox.pid),
		NodeName:    n.name,
		NodeIP:      n.ip.String(),
		HostIP:      n.hostIP.String(),
		PodCIDR:     n.podCIDR.String(),
		ServiceCIDR: n.serviceCIDR.String(),
		Ctr:         n.ctrCommand(),
	}
}
