package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics, as in the released binaries
	_ "k8s.io/component-base/metrics/prometheus/version"  // version metric, as in the released binaries
)

// A component is a program that only this one starts, as a process of its own: one of Kubernetes', linked into this binary
// under the name of the released one, or the sandbox.
type component struct {
	name string
	main func(args []string)
}

var components = []component{
	{"etcd", etcdMain},
	{"kube-apiserver", apiServerMain},
	{"kube-controller-manager", controllerManagerMain},
	{"kube-scheduler", schedulerMain},
	{"kube-proxy", kubeProxyMain},
	{"kubelet", kubeletMain},
	{sandboxComponent, sandboxMain},
}

// runComponent becomes the component that args[0] names and never returns.
func runComponent(args []string) {
	for _, component := range components {
		if len(args) > 0 && component.name == args[0] {
			component.main(args[1:])
			os.Exit(0)
		}
	}
	fmt.Fprintf(os.Stderr, "whetstone-cluster: no such component: %q\n", args)
	os.Exit(2)
}

func runCobra(command *cobra.Command, args []string) {
	command.SetArgs(args)
	os.Exit(cli.Run(command))
}

// binaries knows where each component's program comes from: from a folder of released binaries where it has them
// (KUBEBUILDER_ASSETS), from this very binary otherwise.
type binaries struct {
	assets string
	self   string
}

func newBinaries(assets string) (binaries, error) {
	self, err := os.Executable()
	if err != nil {
		return binaries{}, fmt.Errorf("find the path of this program, which is to be started again for each component: %w", err)
	}
	if assets == "" {
		return binaries{self: self}, nil
	}
	for _, name := range []string{"etcd", "kube-apiserver"} {
		if _, err := os.Stat(filepath.Join(assets, name)); err != nil {
			return binaries{}, fmt.Errorf("look for %s in the folder of Kubernetes binaries: %w; correct or unset KUBEBUILDER_ASSETS", name, err)
		}
	}
	return binaries{assets: assets, self: self}, nil
}

// command returns the command line that runs a component with args.
func (b binaries) command(name string, args []string) []string {
	if b.assets != "" {
		path := filepath.Join(b.assets, name)
		if _, err := os.Stat(path); err == nil {
			return append([]string{path}, args...)
		}
	}
	return append([]string{b.self, componentCommand, name}, args...)
}
