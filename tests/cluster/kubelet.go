package main

import (
	"context"

	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func kubeletMain(args []string) { runCobra(kubelet.NewKubeletCommand(context.Background()), args) }

func kubeletArguments(c *cluster) []string {
	return []string{
		"--config=" + c.path("kubelet.json"),
		"--kubeconfig=" + c.path("kubelet.kubeconfig"),
		"--hostname-override=" + c.node.name,
		"--node-ip=" + c.node.ip.String(),
	}
}

func writeKubeletConfig(c *cluster) error {
	return writeJSON(c.path("kubelet.json"), object{
		"apiVersion":               "kubelet.config.k8s.io/v1beta1",
		"kind":                     "KubeletConfiguration",
		"address":                  c.node.ip.String(),
		"containerRuntimeEndpoint": "unix://" + containerdSocket,

		"authentication": object{
			"anonymous": object{"enabled": false},
			"webhook":   object{"enabled": true},
			"x509":      object{"clientCAFile": c.pki.path("ca.crt")},
		},
		"authorization":     object{"mode": "Webhook"},
		"tlsCertFile":       c.pki.path("kubelet.crt"),
		"tlsPrivateKeyFile": c.pki.path("kubelet.key"),

		// Pods share this machine with everything else on it: they have a cgroup for their limits, and that is all.
		"cgroupDriver":                              "cgroupfs",
		"cgroupRoot":                                "/" + c.node.cgroup,
		"cgroupsPerQOS":                             true,
		"enforceNodeAllocatable":                    []string{},
		"failCgroupV1":                              false,
		"failSwapOn":                                false,
		"localStorageCapacityIsolation":             false,
		"oomScoreAdj":                               0,
		"volumePluginDir":                           "/var/lib/kubelet/volume-plugins",
		"resolvConf":                                "", // There is no name server that pods could reach.
		"containerLogMaxSize":                       "100Mi",
		"nodeStatusUpdateFrequency":                 "2s",
		"shutdownGracePeriod":                       "0s",
		"enableControllerAttachDetach":              true,
		"configMapAndSecretChangeDetectionStrategy": "Watch",

		// A machine with a full disk still runs tests, and images that were imported cannot be pulled again.
		"imageGCHighThresholdPercent": 100,
		"evictionHard": object{
			"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%",
			"imagefs.available": "0%", "imagefs.inodesFree": "0%",
		},
	})
}
