package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// imageSpec is what goes into an image: a static binary and a few files, in one layer.
type imageSpec struct {
	name       string // as a pod names it, such as localhost/whetstone:dev
	binary     string
	files      []addedFile
	entrypoint []string
	user       string
}

// addedFile is a file or a whole folder of the host, and its place in the image.
type addedFile struct{ source, destination string }

// Where Linux distributions keep the certificates of public authorities; Go and rustls look there too.
const (
	hostCertificates  = "/etc/ssl/certs/ca-certificates.crt"
	imageCertificates = "etc/ssl/certs/ca-certificates.crt"
)

func runImage(args []string) error {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	var spec imageSpec
	var added, entrypoint list
	out := flags.String("out", "", "the archive to write")
	flags.StringVar(&spec.binary, "binary", "", "the static program of the image")
	flags.StringVar(&spec.name, "name", "", "the image's name, such as localhost/whetstone:dev")
	flags.StringVar(&spec.user, "user", "65532", "user, or user:group, that the program runs as")
	flags.Var(&added, "add", "SOURCE:DESTINATION, a file or folder to add; may be given several times")
	flags.Var(&entrypoint, "entrypoint", "one word of the entry point; may be given several times (default: the binary)")
	if err := parseFlags(flags, args); err != nil {
		return err
	}
	for name, value := range map[string]string{"binary": spec.binary, "name": spec.name, "out": *out} {
		if err := requireFlag(name, value); err != nil {
			return err
		}
	}
	for _, pair := range added {
		source, destination, ok := strings.Cut(pair, ":")
		if !ok {
			return fmt.Errorf("--add %s: expected SOURCE:DESTINATION", pair)
		}
		spec.files = append(spec.files, addedFile{source, destination})
	}
	spec.entrypoint = entrypoint
	return writeImage(spec, *out)
}

// writeImage writes an OCI image layout as one tar file (https://github.com/opencontainers/image-spec, image-layout.md), which
// `ctr images import` reads.
func writeImage(spec imageSpec, out string) error {
	layer, err := buildLayer(spec)
	if err != nil {
		return fmt.Errorf("image %s: %w", spec.name, err)
	}
	archive, err := buildLayout(spec, layer)
	if err != nil {
		return fmt.Errorf("image %s: %w", spec.name, err)
	}
	if err := writeFileAtomically(out, archive); err != nil {
		return fmt.Errorf("write image %s: %w", spec.name, err)
	}
	return nil
}

func (s imageSpec) binaryPath() string { return "/" + filepath.Base(s.binary) }

// buildLayer makes the image's only layer. The same files give the same bytes: the clock is not in it.
func buildLayer(spec imageSpec) ([]byte, error) {
	var buffer bytes.Buffer
	layer := layerWriter{tar: tar.NewWriter(&buffer), made: map[string]bool{}}
	if err := layer.folder("tmp", 0o1777); err != nil {
		return nil, err
	}
	files := append([]addedFile{{spec.binary, spec.binaryPath()}}, spec.files...)
	if _, err := os.Stat(hostCertificates); err == nil {
		files = append(files, addedFile{hostCertificates, imageCertificates})
	}
	for _, file := range files {
		if err := layer.add(file); err != nil {
			return nil, fmt.Errorf("add %s: %w", file.source, err)
		}
	}
	if err := layer.tar.Close(); err != nil {
		return nil, fmt.Errorf("finish the layer: %w", err)
	}
	return buffer.Bytes(), nil
}

type layerWriter struct {
	tar  *tar.Writer
	made map[string]bool
}

func (l layerWriter) add(file addedFile) error {
	destination := strings.TrimPrefix(path.Clean(file.destination), "/")
	return filepath.WalkDir(file.source, func(source string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(file.source, source)
		if err != nil {
			return err
		}
		target := path.Join(destination, filepath.ToSlash(relative))
		info, err := os.Stat(source) // A link is added as what it points to.
		if err != nil {
			return err
		}
		if info.IsDir() {
			return l.folder(target, 0o755)
		}
		if err := l.folder(path.Dir(target), 0o755); err != nil {
			return err
		}
		return l.file(source, target, info)
	})
}

// folder adds a folder and those above it, once.
func (l layerWriter) folder(name string, mode int64) error {
	if name == "." || name == "/" || l.made[name] {
		return nil
	}
	if err := l.folder(path.Dir(name), 0o755); err != nil {
		return err
	}
	l.made[name] = true
	return l.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode})
}

func (l layerWriter) file(source, target string, info fs.FileInfo) error {
	mode := int64(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	if err := l.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: target, Mode: mode, Size: info.Size()}); err != nil {
		return err
	}
	content, err := os.Open(source)
	if err != nil {
		return err
	}
	defer content.Close()
	_, err = io.Copy(l.tar, content)
	return err
}

// descriptor points to a blob of the image.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

const (
	indexType    = "application/vnd.oci.image.index.v1+json"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
)

type object = map[string]any

func buildLayout(spec imageSpec, layer []byte) ([]byte, error) {
	var buffer bytes.Buffer
	layout := layoutWriter{tar.NewWriter(&buffer)}
	entrypoint := spec.entrypoint
	if len(entrypoint) == 0 {
		entrypoint = []string{spec.binaryPath()}
	}

	layerBlob, err := layout.blob(layerType, layer)
	if err != nil {
		return nil, err
	}
	config, err := layout.json(configType, object{
		"created":      time.Unix(0, 0).UTC(),
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config": object{
			"User":       spec.user,
			"Entrypoint": entrypoint,
			"WorkingDir": "/tmp",
			"Env":        []string{"PATH=/", "HOME=/tmp"},
		},
		// The layer is not compressed, so its digest is also the digest of its content.
		"rootfs": object{"type": "layers", "diff_ids": []string{layerBlob.Digest}},
	})
	if err != nil {
		return nil, err
	}
	manifest, err := layout.json(manifestType, object{
		"schemaVersion": 2,
		"mediaType":     manifestType,
		"config":        config,
		"layers":        []descriptor{layerBlob},
	})
	if err != nil {
		return nil, err
	}
	// containerd takes the image's name from its own annotation; the other one is the standard's.
	manifest.Annotations = map[string]string{
		"io.containerd.image.name":          spec.name,
		"org.opencontainers.image.ref.name": spec.name,
	}
	index, err := json.Marshal(object{"schemaVersion": 2, "mediaType": indexType, "manifests": []descriptor{manifest}})
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		layout.file("index.json", index),
		layout.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)),
		layout.tar.Close(),
	)
	return buffer.Bytes(), err
}

type layoutWriter struct{ tar *tar.Writer }

func (l layoutWriter) json(mediaType string, content object) (descriptor, error) {
	encoded, err := json.Marshal(content)
	if err != nil {
		return descriptor{}, err
	}
	return l.blob(mediaType, encoded)
}

func (l layoutWriter) blob(mediaType string, content []byte) (descriptor, error) {
	sum := sha256.Sum256(content)
	digest := hex.EncodeToString(sum[:])
	blob := descriptor{MediaType: mediaType, Digest: "sha256:" + digest, Size: len(content)}
	return blob, l.file("blobs/sha256/"+digest, content)
}

func (l layoutWriter) file(name string, content []byte) error {
	if err := l.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := l.tar.Write(content)
	return err
}
