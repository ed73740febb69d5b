package main

import (
	"bufio"
	"encoding/json"
	"io"
	"strings"
	"testing"
)

func statuses(t *testing.T, input string) []objectStatus {
	t.Helper()
	var out strings.Builder
	if err := writeStatuses(strings.NewReader(input), &out); err != nil {
		t.Fatal(err)
	}
	var all []objectStatus
	for decoder := json.NewDecoder(strings.NewReader(out.String())); ; {
		var one objectStatus
		if err := decoder.Decode(&one); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
}

func TestEveryFormOfInputIsAnswered(t *testing.T) {
	const ready = `{"apiVersion":"example.dev/v1","kind":"T","metadata":{"name":"a","namespace":"x","generation":1},
		"status":{"observedGeneration":1,"conditions":[{"type":"Ready","status":"True"}]}}`
	const stalled = `{"apiVersion":"example.dev/v1","kind":"T","metadata":{"name":"b"},
		"status":{"conditions":[{"type":"Stalled","status":"True","message":"no model"}]}}`
	for form, input := range map[string]string{
		"lines": ready + "\n" + stalled,
		"array": "[" + ready + "," + stalled + "]",
		"list":  `{"apiVersion":"v1","kind":"List","items":[` + ready + "," + stalled + "]}",
		"yaml":  "---\n# JSON is YAML\n" + ready + "\n---\n---\n" + stalled + "\n",
	} {
		t.Run(form, func(t *testing.T) {
			answers := statuses(t, input)
			if len(answers) != 2 {
				t.Fatalf("%d answers to two objects: %v", len(answers), answers)
			}
			if a := answers[0]; a.Status != "Current" || a.Kind != "T" || a.Name != "a" || a.Namespace != "x" {
				t.Errorf("a ready object: %+v", a)
			}
			if b := answers[1]; b.Status != "Failed" || b.Message != "no model" {
				t.Errorf("a stalled object: %+v", b)
			}
		})
	}
}

func TestAnObjectThatIsNoneIsAnsweredToo(t *testing.T) {
	answers := statuses(t, `{"a":1} {"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"c"}}`)
	if len(answers) != 2 || answers[0].Status != "Unknown" || answers[1].Status != "Current" {
		t.Errorf("%+v", answers)
	}
}

func TestAnObjectIsAnsweredBeforeTheNextOneComes(t *testing.T) {
	input, send := io.Pipe()
	receive, output := io.Pipe()
	go func() { output.CloseWithError(writeStatuses(input, output)) }()
	answers := bufio.NewReader(receive)
	for range 3 {
		if _, err := io.WriteString(send, `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"c"}}`+"\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := answers.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	if err := send.Close(); err != nil {
		t.Fatal(err)
	}
	if rest, err := answers.ReadString('\n'); err != io.EOF {
		t.Errorf("after the last object: %q, %v", rest, err)
	}
}
