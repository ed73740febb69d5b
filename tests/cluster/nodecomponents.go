package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	kubeproxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

const (
	containerdSocket = "/run/containerd/containerd.sock"
	pauseImage       = "localhost/whetstone-pause:1"
)

func schedulerMain(args []string) { runCobra(scheduler.NewSchedulerCommand(), args) }

func schedulerArguments(c *cluster) []string {
	return []string{
		"--kubeconfig=" + c.path("kube-scheduler.kubeconfig"),
		"--leader-elect=false",
		"--secure-port=0",
	}
}

func kubeProxyMain(args []string) { runCobra(kubeproxy.NewProxyCommand(), args) }

func kubeProxyArguments(c *cluster) []string {
	return []string{
		"--kubeconfig=" + c.path("kube-proxy.kubeconfig"),
		"--hostname-override=" + c.node.name,
		"--bind-address=" + c.node.ip.String(),
		"--cluster-cidr=" + c.node.podCIDR.String(),
		"--proxy-mode=iptables",
		"--iptables-min-sync-period=100ms",
		// The size of the connection table belongs to the whole machine.
		"--conntrack-max-per-core=0",
		"--oom-score-adj=0",
	}
}

func containerdCommand(c *cluster) []string {
	return []string{c.node.tools.containerd, "--config=" + c.path("containerd.toml")}
}

// containerdConfig leaves out plugins that this node does not use and that make folders of their own or log errors.
const containerdConfig = `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.internal.v1.opt", # it makes /opt/containerd
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]

[grpc]
  address = %q

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  disable_apparmor = true         # a profile would stay in the kernel
  restrict_oom_score_adj = true   # the machine may not let us lower it

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %q
    conf_dir = %q

  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
`

func writeContainerdConfig(c *cluster) error {
	config := fmt.Sprintf(containerdConfig, containerdSocket, pauseImage, c.node.tools.cniFolder, c.path("cni"))
	if err := os.WriteFile(c.path("containerd.toml"), []byte(config), 0o600); err != nil {
		return fmt.Errorf("write containerd's configuration: %w", err)
	}
	return nil
}

// writeCNIConfig connects each pod by a cable of its own and routes. A bridge would need more: replies between two pods on it
// pass by the rules that have to undo a service's address, unless the kernel filters bridges, which is a setting of the machine.
func writeCNIConfig(c *cluster) error {
	if err := os.MkdirAll(c.path("cni"), 0o700); err != nil {
		return fmt.Errorf("make the folder of the pod network's configuration: %w", err)
	}
	return writeJSON(filepath.Join(c.path("cni"), "10-whetstone.conflist"), object{
		"cniVersion": "0.4.0",
		"name":       "whetstone",
		"plugins": []object{
			{
				"type": "ptp",
				"ipam": object{
					"type":   "host-local",
					"ranges": [][]object{{{"subnet": c.node.podCIDR.String()}}},
					"routes": []object{{"dst": "0.0.0.0/0"}},
				},
			},
			{"type": "portmap", "capabilities": object{"portMappings": true}},
		},
	})
}

func writeJSON(path string, content object) error {
	encoded, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	if err := os.WriteFile(path, encoded, 0o600); err != nil {
		return fmt.Errorf("write a configuration: %w", err)
	}
	return nil
}
