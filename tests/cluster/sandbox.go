package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A sandbox is what the node takes for its machine: a process that is the first one of its own process, mount and network
// namespaces. The kernel takes all of that away when the process ends: containers, mounts, interfaces and firewall rules.
// Nothing needs to be stopped in order, and nothing stays even if all of us are killed.
type sandbox struct {
	pid  int
	file *os.File // the process, to enter its namespaces
	// The sandbox ends when this pipe is closed, and with us at the latest.
	lifeline io.Closer
	done     chan struct{}
}

const sandboxComponent = "sandbox"

func startSandbox(self, dir string) (*sandbox, error) {
	log, err := os.OpenFile(filepath.Join(dir, "sandbox.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the sandbox's log: %w", err)
	}
	defer log.Close()

	command := exec.Command(self, componentCommand, sandboxComponent, dir)
	command.Stderr = log
	// Go's Pdeathsig is of no use here: a child in a new process namespace sees no parent and would take it for dead.
	command.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:    true,
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET,
	}
	lifeline, err := command.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe to the sandbox: %w", err)
	}
	ready, err := command.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe from the sandbox: %w", err)
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start the sandbox: %w", err)
	}
	s := &sandbox{pid: command.Process.Pid, lifeline: lifeline, done: make(chan struct{})}
	_, readyErr := bufio.NewReader(ready).ReadString('\n')
	go func() {
		_ = command.Wait()
		close(s.done)
	}()
	if readyErr != nil {
		s.stop()
		said, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("prepare the sandbox: %s", strings.TrimSpace(string(said)))
	}
	descriptor, err := unix.PidfdOpen(s.pid, 0)
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("open the sandbox's process: %w", err)
	}
	s.file = os.NewFile(uintptr(descriptor), "sandbox")
	return s, nil
}

// stop ends the sandbox and returns when its last process is gone.
func (s *sandbox) stop() {
	_ = s.lifeline.Close()
	_ = syscall.Kill(s.pid, syscall.SIGKILL)
	<-s.done
	if s.file != nil {
		_ = s.file.Close()
	}
}

// path is how a path inside the sandbox is reached from outside.
func (s *sandbox) path(inside string) string { return fmt.Sprintf("/proc/%d/root%s", s.pid, inside) }

// network is the sandbox's network alone, for the control plane.
func (s *sandbox) network() place { return place{enter: s.enterNetwork} }

// machine is all of the sandbox, for what runs on the node.
func (s *sandbox) machine() place { return place{enter: s.enter, endsWithAll: true} }

// enterNetwork moves the calling thread, and the processes that it starts, into the sandbox's network.
func (s *sandbox) enterNetwork() error {
	if err := unix.Setns(int(s.file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the sandbox's network: %w", err)
	}
	return nil
}

// enter moves the calling thread into all of the sandbox, but for its process namespace, which only begins with children.
func (s *sandbox) enter() error {
	// Threads share their root and working directory, and a thread that shares them cannot change its mounts.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("separate a thread's working directory: %w", err)
	}
	if err := unix.Setns(int(s.file.Fd()), unix.CLONE_NEWNET|unix.CLONE_NEWNS|unix.CLONE_NEWPID); err != nil {
		return fmt.Errorf("enter the sandbox: %w", err)
	}
	return nil
}

// sandboxMain is the sandbox's first process. It prepares the mounts, says so, and waits for the end.
func sandboxMain(args []string) {
	if err := furnishSandbox(args[0]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	children := make(chan os.Signal, 16)
	signal.Notify(children, syscall.SIGCHLD)
	fmt.Println("ready")

	// The first process inherits every orphan, containers' shims above all, and has to collect them when they end.
	for range children {
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if pid <= 0 && !errors.Is(err, syscall.EINTR) {
				break
			}
		}
	}
}

// furnishSandbox gives the node the usual paths without a trace on this machine's own: what it writes below /run and /var
// stays in the sandbox, and what is large or worth reading afterwards is in the cluster's folder.
func furnishSandbox(dir string) error {
	// The folder may itself be below /run or /var; from here on it is only reachable through this.
	folder, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("open the cluster's folder: %w", err)
	}
	defer folder.Close()

	const upper, work = "/run/var/upper", "/run/var/work"
	steps := []func() error{
		func() error { return mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") },
		func() error { return mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "") },
		func() error { return mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755") },
		func() error { return errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755)) },
		func() error {
			return mount("overlay", "/var", "overlay", 0, "lowerdir=/var,upperdir="+upper+",workdir="+work)
		},
		func() error { return bind(fmt.Sprintf("/proc/self/fd/%d", folder.Fd()), dir) },
		func() error { return bindFolder(filepath.Join(dir, "kubelet"), "/var/lib/kubelet") },
		func() error { return bindFolder(filepath.Join(dir, "containerd"), "/var/lib/containerd") },
		func() error { return bindFolder(filepath.Join(dir, "log"), "/var/log") },
		shadowSettings,
		// Of the sandbox's network only, so that pods reach services and this machine.
		func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// shadowSettings hides the kernel settings that a kubelet insists on changing (see setupKernelTunables in its container
// manager): they are not per namespace, and this machine is not ours to tune. It finds and changes copies.
func shadowSettings() error {
	for _, setting := range []string{
		"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
		"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
	} {
		path := filepath.Join("/proc/sys", setting)
		value, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read a kernel setting: %w", err)
		}
		shadow := filepath.Join("/run/sysctl", strings.ReplaceAll(setting, "/", "."))
		if err := os.MkdirAll(filepath.Dir(shadow), 0o755); err != nil {
			return fmt.Errorf("make the folder of shadowed kernel settings: %w", err)
		}
		if err := os.WriteFile(shadow, value, 0o644); err != nil {
			return fmt.Errorf("shadow a kernel setting: %w", err)
		}
		if err := mount(shadow, path, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	return nil
}

func bindFolder(source, target string) error {
	if err := os.MkdirAll(source, 0o755); err != nil {
		return fmt.Errorf("make a folder of the node: %w", err)
	}
	return bind(source, target)
}

func bind(source, target string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("make a mount point in the sandbox: %w", err)
	}
	return mount(source, target, "", unix.MS_BIND|unix.MS_REC, "")
}

func mount(source, target, kind string, flags uintptr, options string) error {
	if err := unix.Mount(source, target, kind, flags, options); err != nil {
		return fmt.Errorf("mount %s %s on %s in the sandbox: %w", kind, source, target, err)
	}
	return nil
}
