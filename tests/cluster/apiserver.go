package main

import (
	"fmt"
	"os"
	"strconv"

	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func apiServerMain(args []string) {
	runCobra(app.NewAPIServerCommand(), args)
}

// auditPolicy records who asked for what, and not what was in it. Health probes would be most of the lines.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: None
    nonResourceURLs: ["/healthz*", "/livez*", "/readyz*"]
  - level: Metadata
`

func writeAuditPolicy(path string) error {
	if err := os.WriteFile(path, []byte(auditPolicy), 0o600); err != nil {
		return fmt.Errorf("write the audit policy: %w", err)
	}
	return nil
}

func apiServerArguments(c *cluster) []string {
	args := []string{
		"--bind-address=" + c.apiServerIP.String(),
		"--secure-port=" + strconv.Itoa(c.apiServerPort),
		"--advertise-address=" + c.apiServerIP.String(),
		"--etcd-servers=" + c.etcdURL(),
		"--service-cluster-ip-range=" + c.serviceCIDR.String(),
		"--client-ca-file=" + c.pki.path("ca.crt"),
		"--tls-cert-file=" + c.pki.path("apiserver.crt"),
		"--tls-private-key-file=" + c.pki.path("apiserver.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.pki.path("service-account.pub"),
		"--service-account-signing-key-file=" + c.pki.path("service-account.key"),
		"--audit-policy-file=" + c.path("audit-policy.yaml"),
		"--audit-log-path=" + c.path("audit.log"),
		// An event is in the file before its request is answered, so a test can count as soon as it has the answer.
		"--audit-log-mode=blocking",
		"--profiling=false",
	}
	if c.node == nil {
		return append(args,
			"--authorization-mode=RBAC",
			// A loopback address must not be an endpoint, and without a node nobody would follow it.
			"--endpoint-reconciler-type=none",
		)
	}
	return append(args,
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged",
		"--kubelet-preferred-address-types=InternalIP",
		"--kubelet-certificate-authority="+c.pki.path("ca.crt"),
		"--kubelet-client-certificate="+c.pki.path("apiserver-kubelet-client.crt"),
		"--kubelet-client-key="+c.pki.path("apiserver-kubelet-client.key"),
	)
}
