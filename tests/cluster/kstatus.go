package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// objectStatus is what a client that knows nothing of a resource (Flux, Argo CD, kubectl) makes of its status.
type objectStatus struct {
	Kind      string        `json:"kind"`
	Name      string        `json:"name"`
	Namespace string        `json:"namespace"`
	Status    status.Status `json:"status"`
	Message   string        `json:"message"`
}

func runKstatus(args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %q: objects are read from standard input", args[0])
	}
	return writeStatuses(os.Stdin, os.Stdout)
}

// writeStatuses answers each object as soon as it is complete, so that a caller can send one, read one, and send the next.
// JSON starts with a brace or a bracket; everything else is YAML, which is only complete at a "---" or at the end.
func writeStatuses(in io.Reader, out io.Writer) error {
	reader := bufio.NewReader(in)
	first, err := skipSpace(reader)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read objects: %w", err)
	}
	next := nextYAML(reader)
	if first == '{' || first == '[' {
		next = nextJSON(reader)
	}
	for {
		document, err := next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read objects: %w", err)
		}
		if err := writeDocument(document, out); err != nil {
			return err
		}
	}
}

// skipSpace returns the first character that is not white space, and leaves it unread.
func skipSpace(reader *bufio.Reader) (rune, error) {
	for {
		char, _, err := reader.ReadRune()
		if err != nil {
			return 0, err
		}
		if !unicode.IsSpace(char) {
			return char, reader.UnreadRune()
		}
	}
}

func nextJSON(reader *bufio.Reader) func() ([]byte, error) {
	decoder := json.NewDecoder(reader)
	return func() ([]byte, error) {
		var document json.RawMessage
		err := decoder.Decode(&document)
		return document, err
	}
}

func nextYAML(reader *bufio.Reader) func() ([]byte, error) {
	ended := false
	return func() ([]byte, error) {
		var document bytes.Buffer
		for !ended {
			line, err := reader.ReadBytes('\n')
			if ended = errors.Is(err, io.EOF); err != nil && !ended {
				return nil, err
			}
			if bytes.HasPrefix(line, []byte("---")) {
				break
			}
			document.Write(line)
		}
		if ended && document.Len() == 0 {
			return nil, io.EOF
		}
		return yaml.YAMLToJSON(document.Bytes())
	}
}

// writeDocument answers one document: an object, a List, or an array of objects.
func writeDocument(document []byte, out io.Writer) error {
	if bytes.Equal(bytes.TrimSpace(document), []byte("null")) {
		return nil // Nothing between two "---".
	}
	if document[0] == '[' {
		var items []json.RawMessage
		if err := json.Unmarshal(document, &items); err != nil {
			return fmt.Errorf("parse an array of objects: %w", err)
		}
		for _, item := range items {
			if err := writeDocument(item, out); err != nil {
				return err
			}
		}
		return nil
	}

	// This decoder keeps integers apart from floats; kstatus refuses a float as observedGeneration.
	var object unstructured.Unstructured
	if err := object.UnmarshalJSON(document); err != nil {
		return writeAnswer(objectStatus{Status: status.UnknownStatus, Message: err.Error()}, out)
	}
	if object.IsList() {
		return object.EachListItem(func(item runtime.Object) error {
			return writeStatus(item.(*unstructured.Unstructured), out)
		})
	}
	return writeStatus(&object, out)
}

func writeStatus(object *unstructured.Unstructured, out io.Writer) error {
	answer := objectStatus{Kind: object.GetKind(), Name: object.GetName(), Namespace: object.GetNamespace()}
	result, err := status.Compute(object)
	if err != nil {
		answer.Status, answer.Message = status.UnknownStatus, err.Error()
	} else {
		answer.Status, answer.Message = result.Status, result.Message
	}
	return writeAnswer(answer, out)
}

func writeAnswer(answer objectStatus, out io.Writer) error {
	if err := json.NewEncoder(out).Encode(answer); err != nil {
		return fmt.Errorf("write a status: %w", err)
	}
	return nil
}
