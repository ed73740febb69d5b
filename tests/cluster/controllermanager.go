package main

import (
	_ "time/tzdata" // time zones of CronJobs, as in the released binary

	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

func controllerManagerMain(args []string) {
	runCobra(app.NewControllerManagerCommand(), args)
}

func controllerManagerArguments(c *cluster) []string {
	return []string{
		"--kubeconfig=" + c.path("kubeconfig"),
		"--secure-port=0",
		"--leader-elect=false",
		"--use-service-account-credentials=false",
		"--service-account-private-key-file=" + c.pki.path("service-account.key"),
		"--root-ca-file=" + c.pki.path("ca.crt"),
		"--cluster-signing-cert-file=" + c.pki.path("ca.crt"),
		"--cluster-signing-key-file=" + c.pki.path("ca.key"),
		// The default of 20 requests a second is meant for a shared API server; tests wait for every one of them.
		"--kube-api-qps=200",
		"--kube-api-burst=400",
	}
}
