// Package flux runs the health check expressions of deploy/flux in Flux's own evaluator, and kstatus beside it, over the
// objects of ../testdata.
package flux

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const manifest = "../../../deploy/flux/whetstone.yaml"

// testCase is an object and what is to be said of it.
type testCase struct {
	Case    string `json:"case"`
	Flux    string `json:"flux"`
	Kstatus string `json:"kstatus"`
	Object  object `json:"object"`
}

// object keeps whole numbers whole, as the API machinery does.
type object struct{ unstructured.Unstructured }

func (o *object) UnmarshalJSON(text []byte) error { return o.Unstructured.UnmarshalJSON(text) }

func readCases(t *testing.T) []testCase {
	t.Helper()
	files, err := filepath.Glob("../testdata/*s.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	var all []testCase
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var cases []testCase
		if err := yaml.Unmarshal(text, &cases); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, cases...)
	}
	return all
}

// readEvaluators reads the expressions, one evaluator a kind.
func readEvaluators(t *testing.T) map[string]*cel.StatusEvaluator {
	t.Helper()
	text, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	evaluators := map[string]*cel.StatusEvaluator{}
	for _, document := range bytes.Split(text, []byte("\n---\n")) {
		var one struct {
			Spec struct {
				HealthCheckExprs []kustomize.CustomHealthCheck `json:"healthCheckExprs"`
			} `json:"spec"`
		}
		if err := yaml.Unmarshal(document, &one); err != nil {
			t.Fatal(err)
		}
		for _, check := range one.Spec.HealthCheckExprs {
			if check.APIVersion != "whetstone.dev/v1alpha1" {
				t.Fatalf("%s: apiVersion %q", check.Kind, check.APIVersion)
			}
			evaluator, err := cel.NewStatusEvaluator(&check.HealthCheckExpressions)
			if err != nil {
				t.Fatal(err)
			}
			evaluators[check.Kind] = evaluator
		}
	}
	return evaluators
}

func TestFluxSaysWhatTheObjectsShow(t *testing.T) {
	evaluators := readEvaluators(t)
	if len(evaluators) != 2 {
		t.Fatalf("%d kinds have expressions, not both", len(evaluators))
	}
	for _, one := range readCases(t) {
		kind := one.Object.GetKind()
		t.Run(kind+"/"+one.Case, func(t *testing.T) {
			said := "error"
			result, err := evaluators[kind].Evaluate(context.Background(), &one.Object.Unstructured)
			if err == nil {
				said = result.Status.String()
			}
			if said != one.Flux {
				t.Errorf("Flux says %s (%v), not %s", said, err, one.Flux)
			}
		})
	}
}

func TestKstatusSaysWhatTheObjectsShow(t *testing.T) {
	for _, one := range readCases(t) {
		t.Run(one.Object.GetKind()+"/"+one.Case, func(t *testing.T) {
			result, err := status.Compute(&one.Object.Unstructured)
			if err != nil {
				t.Fatal(err)
			}
			if said := result.Status.String(); said != one.Kstatus {
				t.Errorf("kstatus says %s (%s), not %s", said, result.Message, one.Kstatus)
			}
		})
	}
}
