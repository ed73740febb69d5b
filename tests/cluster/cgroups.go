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

// removeCgroups removes a cgroup without processes, with all below it, from every hierarchy of this machine.
func removeCgroups(name string) error {
	hierarchies, err := cgroupHierarchies()
	if err != nil {
		return err
	}
	var errs []error
	for _, hierarchy := range hierarchies {
		errs = append(errs, removeCgroup(filepath.Join(hierarchy, name)))
	}
	return errors.Join(errs...)
}

// cgroupHierarchies lists where cgroups are mounted: one place with version 2, one for each controller with version 1.
func cgroupHierarchies() ([]string, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list the cgroup hierarchies: %w", err)
	}
	defer file.Close()
	var hierarchies []string
	for lines := bufio.NewScanner(file); lines.Scan(); {
		// proc_pid_mountinfo(5): the fifth field is the mount point, and the type follows a field that is a hyphen.
		before, after, _ := strings.Cut(lines.Text(), " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if len(fields) > 4 && len(kind) > 0 && (kind[0] == "cgroup" || kind[0] == "cgroup2") {
			hierarchies = append(hierarchies, fields[4])
		}
	}
	return hierarchies, nil
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
