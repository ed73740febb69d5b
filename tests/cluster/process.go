package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const (
	// A component that ends is started again at once, so that killing it is a restart. If it ends of itself, again and again,
	// before it has lived this long, something is wrong with it.
	minimumLifetime = 2 * time.Second
	restartDelay    = 500 * time.Millisecond
	quickDeaths     = 5
)

// processes supervises the components and keeps their pids in a file.
type processes struct {
	pidsPath string
	logDir   string
	// failed gets the first error of a component that cannot be kept alive.
	failed chan error

	mutex    sync.Mutex
	running  map[string]*process
	stopping bool
}

// A place is where a process runs, if not simply here. It is entered by the thread that starts the process.
type place struct {
	enter func() error
	// endsWithAll is for a place that takes all processes in it along when it ends. Go's Pdeathsig must then be left out: a
	// child in another process namespace cannot see its parent, takes it for dead, and kills itself.
	endsWithAll bool
}

type process struct {
	key   string
	name  string
	argv  []string
	place place
	pid   int
	done  chan struct{}
}

func newProcesses(dir string) *processes {
	return &processes{
		pidsPath: filepath.Join(dir, "pids.json"),
		logDir:   dir,
		failed:   make(chan error, 1),
		running:  map[string]*process{},
	}
}

// start runs argv until stopAll is called, whatever happens to the process meanwhile. Its output goes to NAME.log, its pid
// stands in pids.json under key.
func (p *processes) start(key, name string, argv []string, where place) error {
	child := &process{key: key, name: name, argv: argv, place: where, done: make(chan struct{})}
	started := make(chan error, 1)
	go p.supervise(child, started)
	return <-started
}

func (p *processes) supervise(child *process, started chan<- error) {
	// Linux sends the death signal when the *thread* that made the child ends, and a network namespace belongs to a thread
	// too. So the child's thread is ours until the end; it is never given back, and ends with this goroutine.
	runtime.LockOSThread()
	defer close(child.done)

	if child.place.enter != nil {
		if err := child.place.enter(); err != nil {
			started <- fmt.Errorf("prepare the start of %s: %w", child.name, err)
			return
		}
	}
	early := 0
	for {
		begin := time.Now()
		command, err := p.spawn(child)
		if started != nil {
			started <- err
			started = nil
		}
		if err != nil {
			p.fail(err)
			return
		}
		if command == nil { // The cluster is stopping.
			return
		}
		exit := command.Wait()
		if p.areStopping() {
			return
		}
		fmt.Fprintf(os.Stderr, "whetstone-cluster: %s ended (%v), starting it again\n", child.name, exit)
		if time.Since(begin) >= minimumLifetime {
			early = 0
			continue
		}
		if !wasKilled(command.ProcessState) {
			early++
		}
		if early >= quickDeaths {
			p.fail(fmt.Errorf("keep %s running: it ended %d times within %s of its start (%v). The end of %s:\n%s",
				child.name, early, minimumLifetime, exit, p.logPath(child.name), p.logTail(child.name)))
			return
		}
		time.Sleep(restartDelay)
	}
}

// wasKilled tells a process that somebody killed from one that gave up.
func wasKilled(state *os.ProcessState) bool {
	status, ok := state.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// spawn starts the process once and publishes its pid. It returns nil when the cluster is stopping.
func (p *processes) spawn(child *process) (*exec.Cmd, error) {
	log, err := os.OpenFile(p.logPath(child.name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", child.name, err)
	}
	defer log.Close() // The child has its own copy.

	command := exec.Command(child.argv[0], child.argv[1:]...)
	command.Stdout = log
	command.Stderr = log
	// A group of its own: Ctrl-C in a terminal is for us, and we stop the components in order.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if !child.place.endsWithAll {
		command.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}

	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.stopping {
		return nil, nil
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", child.name, err)
	}
	child.pid = command.Process.Pid
	p.running[child.key] = child
	return command, p.writePids()
}

func (p *processes) areStopping() bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.stopping
}

// writePids replaces the file in one step, so that a reader never sees half of it.
func (p *processes) writePids() error {
	pids := map[string]int{}
	for key, child := range p.running {
		pids[key] = child.pid
	}
	content, err := json.Marshal(pids)
	if err != nil {
		return fmt.Errorf("encode the pids: %w", err)
	}
	if err := writeFileAtomically(p.pidsPath, append(content, '\n')); err != nil {
		return fmt.Errorf("write the pids: %w", err)
	}
	return nil
}

func (p *processes) fail(err error) {
	select {
	case p.failed <- err:
	default: // The first failure is the one that is told.
	}
}

// stopAll ends every component at once: nothing that they could save outlives the cluster.
func (p *processes) stopAll() {
	p.mutex.Lock()
	p.stopping = true
	children := p.running
	p.running = map[string]*process{}
	p.mutex.Unlock()
	for _, child := range children {
		_ = syscall.Kill(-child.pid, syscall.SIGKILL)
	}
	for _, child := range children {
		<-child.done
	}
}

func (p *processes) logPath(name string) string { return filepath.Join(p.logDir, name+".log") }

// logTail is the end of a component's log, for an error message.
func (p *processes) logTail(name string) string {
	const lines = 15
	content, err := os.ReadFile(p.logPath(name))
	if err != nil {
		return err.Error()
	}
	all := bytes.Split(bytes.TrimRight(content, "\n"), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}

func writeFileAtomically(path string, content []byte) error {
	temporary := path + ".new"
	if err := os.WriteFile(temporary, content, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
