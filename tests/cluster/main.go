// Command whetstone-cluster runs a real Kubernetes for Whetstone's tests, without any container engine: etcd, API server,
// controller manager and, with --node, a kubelet with its runtime, all from this one binary.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
)

// A command is what stands behind the first argument. It gets the arguments after that one.
type command struct {
	name     string
	synopsis string
	run      func(args []string) error
}

var commands = []command{
	{"up", "--dir DIR [--node] [--rm] [--until-stdin-closes]: run a cluster in the foreground", runUp},
	{"user", "--dir DIR --name NAME [--group G]...: write a kubeconfig for another user of a running cluster", runUser},
	{"image", "--binary PATH --name IMAGE --out FILE [--add SOURCE:DESTINATION]...: write an image for a cluster with a node", runImage},
	{"kstatus", "< objects: print the kstatus of every object on standard input, a line of JSON each", runKstatus},
}

// componentCommand is how this program starts itself as one of Kubernetes' own programs. It is not for people.
const componentCommand = "component"

// Threads that start processes may be moved to other namespaces and then end with their goroutine (see processes). The
// program's first thread must not become one of them: it cannot end, and it is what /proc/self shows.
func init() { runtime.LockOSThread() }

func main() {
	if len(os.Args) < 2 {
		printUsage()
		os.Exit(2)
	}
	name, args := os.Args[1], os.Args[2:]
	if name == componentCommand {
		runtime.UnlockOSThread()
		runComponent(args) // Does not return.
	}
	for _, command := range commands {
		if command.name == name {
			exit(name, command.run(args))
		}
	}
	printUsage()
	os.Exit(2)
}

func exit(name string, err error) {
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case errors.Is(err, errUsage):
		os.Exit(2) // The flag package has said what is wrong.
	default:
		fmt.Fprintf(os.Stderr, "whetstone-cluster %s: %v\n", name, err)
		os.Exit(1)
	}
}

func printUsage() {
	fmt.Fprintln(os.Stderr, "usage: whetstone-cluster COMMAND")
	for _, command := range commands {
		fmt.Fprintf(os.Stderr, "  %s %s\n", command.name, command.synopsis)
	}
}

var errUsage = errors.New("wrong arguments")

// parseFlags parses args into the given flags and refuses what is left over.
func parseFlags(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return errUsage
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "%s: unexpected argument %q\n", flags.Name(), flags.Arg(0))
		return errUsage
	}
	return nil
}

// requireFlag says that a flag without a default was left out.
func requireFlag(name, value string) error {
	if value == "" {
		return fmt.Errorf("--%s is required", name)
	}
	return nil
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string { return fmt.Sprint([]string(*l)) }

func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}
