package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// makeCgroups makes an empty cgroup in every hierarchy of this machine.
func makeCgroups(name string) error {
	hierarchies, err := cgroupHierarchies()
	if err != nil {
		return err
	}
	for _, hierarchy := range hierarchies {
		if err := hierarchy.makeCgroup(name); err != nil {
			return err
		}
	}
	return nil
}

// removeCgroups removes a cgroup without processes, with all below it, from every hierarchy of this machine.
func removeCgroups(name string) error {
	hierarchies, err := cgroupHierarchies()
	if err != nil {
		return err
	}
	var errs []error
	for _, hierarchy := range hierarchies {
		errs = append(errs, removeCgroup(filepath.Join(hierarchy.mountPoint, name)))
	}
	return errors.Join(errs...)
}

// hierarchy is a tree of cgroups: there is one with version 2, and one for each controller or few with version 1.
type hierarchy struct {
	mountPoint string
	unified    bool // version 2
}

func cgroupHierarchies() ([]hierarchy, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list the cgroup hierarchies: %w", err)
	}
	defer file.Close()
	var hierarchies []hierarchy
	for lines := bufio.NewScanner(file); lines.Scan(); {
		// proc_pid_mountinfo(5): the fifth field is the mount point, and the type follows a field that is a hyphen.
		before, after, _ := strings.Cut(lines.Text(), " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if len(fields) > 4 && len(kind) > 0 && (kind[0] == "cgroup" || kind[0] == "cgroup2") {
			hierarchies = append(hierarchies, hierarchy{mountPoint: fields[4], unified: kind[0] == "cgroup2"})
		}
	}
	return hierarchies, nil
}

func (h hierarchy) makeCgroup(name string) error {
	if h.unified {
		if err := passControllersOn(h.mountPoint); err != nil {
			return err
		}
	}
	path := filepath.Join(h.mountPoint, name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return fmt.Errorf("make a cgroup for pods: %w", err)
	}
	if h.unified {
		return passControllersOn(path)
	}
	// With version 1, a cpuset takes no process as long as it does not say which processors and memory it has.
	for _, setting := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(h.mountPoint, setting))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(path, setting), value, 0)
		}
		if err != nil {
			return fmt.Errorf("give the cgroup for pods its processors: %w", err)
		}
	}
	return nil
}

// passControllersOn makes the controllers that a cgroup has available in those below it, as version 2 wants to be told.
func passControllersOn(path string) error {
	available, err := os.ReadFile(filepath.Join(path, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("list the controllers of a cgroup: %w", err)
	}
	for _, controller := range strings.Fields(string(available)) {
		if err := os.WriteFile(filepath.Join(path, "cgroup.subtree_control"), []byte("+"+controller), 0); err != nil {
			return fmt.Errorf("pass the controller %s on to the cgroups in %s: %w", controller, path, err)
		}
	}
	return nil
}

func removeCgroup(path string) error {
	var folders []string
	err := filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			folders = append(folders, path)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list the cgroups in %s: %w", path, err)
	}
	for _, folder := range slices.Backward(folders) { // Children first.
		if err := removeOneCgroup(folder); err != nil {
			return err
		}
	}
	return nil
}

// removeOneCgroup waits for the kernel, which counts a process as a member for a moment after it has been collected.
func removeOneCgroup(path string) error {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := syscall.Rmdir(path)
		switch {
		case err == nil || errors.Is(err, syscall.ENOENT):
			return nil
		case !errors.Is(err, syscall.EBUSY) || time.Now().After(deadline):
			return fmt.Errorf("remove the cgroup %s: %w", path, err)
		}
	}
}
