package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Certificates outlive every test run; they are valid from an hour ago because clocks disagree.
const (
	certificateLifetime = 365 * 24 * time.Hour
	certificateBackdate = time.Hour
)

// pki is the folder with the cluster's keys, and the authority that signs all of its certificates.
type pki struct {
	dir           string
	caCertificate *x509.Certificate
	caKey         *ecdsa.PrivateKey
}

func (p *pki) path(name string) string { return filepath.Join(p.dir, name) }

// identity is what a certificate says about its bearer. Kubernetes reads a user and groups from it.
type identity struct {
	user   string
	groups []string
}

// newPKI makes the folder with a new authority and the keys that sign service account tokens.
func newPKI(dir string) (*pki, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of certificates: %w", err)
	}
	p := &pki{dir: dir}

	var err error
	if p.caKey, err = newKey(); err != nil {
		return nil, err
	}
	template, err := newCertificate(identity{user: "whetstone-test-ca"})
	if err != nil {
		return nil, err
	}
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, p.caKey.Public(), p.caKey)
	if err != nil {
		return nil, fmt.Errorf("sign the authority's certificate: %w", err)
	}
	if p.caCertificate, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("read back the authority's certificate: %w", err)
	}

	caKey, err := encodeKey(p.caKey)
	if err != nil {
		return nil, err
	}
	serviceAccountKey, err := newKey()
	if err != nil {
		return nil, err
	}
	privateKey, err := encodeKey(serviceAccountKey)
	if err != nil {
		return nil, err
	}
	publicKey, err := encodePublicKey(serviceAccountKey.Public())
	if err != nil {
		return nil, err
	}
	return p, errors.Join(
		p.write("ca.crt", encodeCertificate(der)),
		p.write("ca.key", caKey),
		p.write("service-account.key", privateKey),
		p.write("service-account.pub", publicKey),
	)
}

// openPKI reads the authority of a cluster that is there already.
func openPKI(dir string) (*pki, error) {
	p := &pki{dir: dir}
	certificate, err := readPEM(p.path("ca.crt"))
	if err != nil {
		return nil, err
	}
	if p.caCertificate, err = x509.ParseCertificate(certificate); err != nil {
		return nil, fmt.Errorf("parse %s: %w", p.path("ca.crt"), err)
	}
	key, err := readPEM(p.path("ca.key"))
	if err != nil {
		return nil, err
	}
	if p.caKey, err = x509.ParseECPrivateKey(key); err != nil {
		return nil, fmt.Errorf("parse %s: %w", p.path("ca.key"), err)
	}
	return p, nil
}

// caPEM is the authority's certificate as clients want it.
func (p *pki) caPEM() []byte { return encodeCertificate(p.caCertificate.Raw) }

// keyPair is a certificate with its key, both as PEM.
type keyPair struct {
	certificate []byte
	key         []byte
}

// issueClient signs a certificate with which id logs in at the API server.
func (p *pki) issueClient(id identity) (keyPair, error) {
	template, err := newCertificate(id)
	if err != nil {
		return keyPair{}, err
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return p.issue(template)
}

// issueServer signs a serving certificate for all the names and addresses and writes it to NAME.crt and NAME.key.
func (p *pki) issueServer(name string, dnsNames []string, addresses []net.IP) error {
	template, err := newCertificate(identity{user: name})
	if err != nil {
		return err
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	template.DNSNames = dnsNames
	template.IPAddresses = addresses
	pair, err := p.issue(template)
	if err != nil {
		return err
	}
	return p.writePair(name, pair)
}

func (p *pki) writePair(name string, pair keyPair) error {
	return errors.Join(p.write(name+".crt", pair.certificate), p.write(name+".key", pair.key))
}

func (p *pki) issue(template *x509.Certificate) (keyPair, error) {
	key, err := newKey()
	if err != nil {
		return keyPair{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, p.caCertificate, key.Public(), p.caKey)
	if err != nil {
		return keyPair{}, fmt.Errorf("sign the certificate of %s: %w", template.Subject.CommonName, err)
	}
	encodedKey, err := encodeKey(key)
	if err != nil {
		return keyPair{}, err
	}
	return keyPair{certificate: encodeCertificate(der), key: encodedKey}, nil
}

func (p *pki) write(name string, content []byte) error {
	if err := os.WriteFile(p.path(name), content, 0o600); err != nil {
		return fmt.Errorf("write a key or certificate: %w", err)
	}
	return nil
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return key, nil
}

func newCertificate(id identity) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: id.user, Organization: id.groups},
		NotBefore:    now.Add(-certificateBackdate),
		NotAfter:     now.Add(certificateLifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}, nil
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

func encodePublicKey(key crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

func readPEM(path string) ([]byte, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read a key or certificate of the cluster: %w", err)
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, fmt.Errorf("read %s: there is no PEM block in it", path)
	}
	return block.Bytes, nil
}
