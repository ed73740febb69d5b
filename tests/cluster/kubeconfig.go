package main

import (
	"flag"
	"fmt"
	"path/filepath"
	"strings"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// writeKubeconfig writes a kubeconfig with everything inside, so that it can be copied and mounted.
func writeKubeconfig(path, server string, ca []byte, user string, pair keyPair) error {
	const name = "whetstone-test"
	config := api.NewConfig()
	config.Clusters[name] = &api.Cluster{Server: server, CertificateAuthorityData: ca}
	config.AuthInfos[user] = &api.AuthInfo{ClientCertificateData: pair.certificate, ClientKeyData: pair.key}
	config.Contexts[name] = &api.Context{Cluster: name, AuthInfo: user, Namespace: "default"}
	config.CurrentContext = name
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return fmt.Errorf("write the kubeconfig of %s: %w", user, err)
	}
	return nil
}

// issueKubeconfig writes a kubeconfig with a new client certificate.
func (p *pki) issueKubeconfig(path, server string, id identity) error {
	pair, err := p.issueClient(id)
	if err != nil {
		return err
	}
	return writeKubeconfig(path, server, p.caPEM(), id.user, pair)
}

func runUser(args []string) error {
	flags := flag.NewFlagSet("user", flag.ContinueOnError)
	dir := flags.String("dir", "", "folder of a running cluster")
	name := flags.String("name", "", "the user's name, as RBAC will see it")
	out := flags.String("out", "", "where to write the kubeconfig (default DIR/user-NAME.kubeconfig)")
	var groups list
	flags.Var(&groups, "group", "a group of the user; may be given several times")
	if err := parseFlags(flags, args); err != nil {
		return err
	}
	if err := requireFlag("dir", *dir); err != nil {
		return err
	}
	if err := requireFlag("name", *name); err != nil {
		return err
	}

	keys, err := openPKI(filepath.Join(*dir, pkiFolder))
	if err != nil {
		return fmt.Errorf("%w; is there a cluster in %s?", err, *dir)
	}
	admin, err := clientcmd.LoadFromFile(filepath.Join(*dir, "kubeconfig"))
	if err != nil {
		return fmt.Errorf("find the cluster's address: %w", err)
	}
	server := admin.Clusters[admin.Contexts[admin.CurrentContext].Cluster].Server

	path := *out
	if path == "" {
		// Names such as system:serviceaccount:a:b are fine as file names, a slash is not.
		path = filepath.Join(*dir, "user-"+strings.ReplaceAll(*name, "/", "_")+".kubeconfig")
	}
	if err := keys.issueKubeconfig(path, server, identity{user: *name, groups: groups}); err != nil {
		return err
	}
	fmt.Println(path)
	return nil
}
