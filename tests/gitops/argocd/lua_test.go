// Package argocd runs the Lua of deploy/argocd in Argo CD's own interpreter over the objects of ../testdata.
package argocd

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const configMap = "../../../deploy/argocd/argocd-cm.yaml"

// testCase is an object and what is to be said of it.
type testCase struct {
	Case   string `json:"case"`
	Argocd struct {
		Health  string   `json:"health"`
		Message string   `json:"message"`
		Enabled []string `json:"enabled"`
	} `json:"argocd"`
	Object object `json:"object"`
}

// object keeps whole numbers whole, as the API machinery does.
type object struct{ unstructured.Unstructured }

func (o *object) UnmarshalJSON(text []byte) error { return o.Unstructured.UnmarshalJSON(text) }

func readCases(t *testing.T, file string) []testCase {
	t.Helper()
	text, err := os.ReadFile("../testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var cases []testCase
	if err := yaml.Unmarshal(text, &cases); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return cases
}

// find is the object of a case.
func find(t *testing.T, name string) *unstructured.Unstructured {
	t.Helper()
	for _, one := range readCases(t, "agentoptimizations.yaml") {
		if one.Case == name {
			return &one.Object.Unstructured
		}
	}
	t.Fatalf("there is no case %q", name)
	return nil
}

// readVM reads the ConfigMap as Argo CD does: a key names a kind, and what is said about it.
func readVM(t *testing.T) lua.VM {
	t.Helper()
	text, err := os.ReadFile(configMap)
	if err != nil {
		t.Fatal(err)
	}
	var settings struct {
		Data map[string]string `json:"data"`
	}
	if err := yaml.Unmarshal(text, &settings); err != nil {
		t.Fatal(err)
	}
	overrides := map[string]v1alpha1.ResourceOverride{}
	for key, value := range settings.Data {
		parts := strings.SplitN(key, ".", 4)
		if len(parts) != 4 || parts[0] != "resource" || parts[1] != "customizations" {
			t.Fatalf("%s is no key of Argo CD", key)
		}
		kind := strings.Replace(parts[3], "_", "/", 1)
		override := overrides[kind]
		switch parts[2] {
		case "health":
			override.HealthLua = value
		case "actions":
			override.Actions = value
		default:
			t.Fatalf("%s: %q is unknown", key, parts[2])
		}
		overrides[kind] = override
	}
	return lua.VM{ResourceOverrides: overrides}
}

func TestHealthSaysWhatTheObjectsShow(t *testing.T) {
	vm := readVM(t)
	for _, file := range []string{"agentoptimizations.yaml", "promptversions.yaml"} {
		for _, one := range readCases(t, file) {
			t.Run(one.Object.GetKind()+"/"+one.Case, func(t *testing.T) {
				script, _, err := vm.GetHealthScript(&one.Object.Unstructured)
				if err != nil {
					t.Fatal(err)
				}
				health, err := vm.ExecuteHealthLua(&one.Object.Unstructured, script)
				if err != nil {
					t.Fatal(err)
				}
				if string(health.Status) != one.Argocd.Health || health.Message != one.Argocd.Message {
					t.Errorf("Argo CD says %s, %q, not %s, %q", health.Status, health.Message, one.Argocd.Health, one.Argocd.Message)
				}
			})
		}
	}
}

func TestActionsThatDoNotApplyAreDisabled(t *testing.T) {
	vm := readVM(t)
	for _, one := range readCases(t, "agentoptimizations.yaml") {
		t.Run(one.Case, func(t *testing.T) {
			scripts, err := vm.GetResourceActionDiscovery(&one.Object.Unstructured)
			if err != nil {
				t.Fatal(err)
			}
			actions, err := vm.ExecuteResourceActionDiscovery(&one.Object.Unstructured, scripts)
			if err != nil {
				t.Fatal(err)
			}
			var enabled []string
			for _, action := range actions {
				if !action.Disabled {
					enabled = append(enabled, action.Name)
				}
			}
			slices.Sort(enabled)
			slices.Sort(one.Argocd.Enabled)
			if len(actions) != 5 || !slices.Equal(enabled, one.Argocd.Enabled) {
				t.Errorf("of %d actions these are enabled: %v, not %v", len(actions), enabled, one.Argocd.Enabled)
			}
		})
	}
}

// act runs an action, and returns the object that Argo CD would patch the live one into.
func act(t *testing.T, object *unstructured.Unstructured, name string) *unstructured.Unstructured {
	t.Helper()
	vm := readVM(t)
	action, err := vm.GetResourceAction(object, name)
	if err != nil {
		t.Fatal(err)
	}
	impacted, err := vm.ExecuteResourceAction(object, action.ActionLua, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(impacted) != 1 || impacted[0].K8SOperation != lua.PatchOperation {
		t.Fatalf("%s does not patch one object: %v", name, impacted)
	}
	return impacted[0].UnstructuredObj
}

func TestActionsSayWhatTheOperatorListensTo(t *testing.T) {
	watched, awaiting, suspended := "a promoted version is being watched", "a challenger waits for a person", "it is suspended"
	for _, one := range []struct{ object, action, annotation, value string }{
		{awaiting, "approve", "whetstone.dev/approve", "v2"},
		{watched, "rollback", "whetstone.dev/rollback-to", "v1"},
	} {
		before := find(t, one.object)
		after := act(t, before, one.action)
		// What follows the @ only makes the value another one than before.
		if value, _, _ := strings.Cut(after.GetAnnotations()[one.annotation], "@"); value != one.value {
			t.Errorf("%s says %q, not %q", one.action, value, one.value)
		}
		after.SetAnnotations(nil)
		if !equal(t, before, after) {
			t.Errorf("%s changes more than its annotation: %v", one.action, after)
		}
	}
	asked, err := time.Parse(time.RFC3339, act(t, find(t, watched), "run").GetAnnotations()["whetstone.dev/run-at"])
	if err != nil || time.Since(asked).Abs() > time.Minute {
		t.Errorf("run asks for a cycle at %v: %v", asked, err)
	}
	again := act(t, find(t, suspended), "run").GetAnnotations()["whetstone.dev/run-at"]
	if _, err := time.Parse(time.RFC3339, again); err != nil {
		t.Errorf("run does not ask anew where it was asked before: %q", again)
	}
	for action, expected := range map[string]bool{"suspend": true, "resume": false} {
		found, ok, err := unstructured.NestedBool(act(t, find(t, suspended), action).Object, "spec", "suspend")
		if err != nil || !ok || found != expected {
			t.Errorf("%s sets spec.suspend to %v, %v, %v", action, found, ok, err)
		}
	}
}

// equal compares through JSON: Lua knows one kind of number.
func equal(t *testing.T, one, other *unstructured.Unstructured) bool {
	t.Helper()
	a, err := yaml.Marshal(one.Object)
	if err != nil {
		t.Fatal(err)
	}
	b, err := yaml.Marshal(other.Object)
	if err != nil {
		t.Fatal(err)
	}
	return string(a) == string(b)
}
