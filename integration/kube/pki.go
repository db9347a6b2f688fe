package kube

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// pki is the directory of keys, certificates and tokens.
type pki struct{ dir string }

func (p pki) caCert() string     { return filepath.Join(p.dir, "ca.crt") }
func (p pki) serverCert() string { return filepath.Join(p.dir, "server.crt") }
func (p pki) serverKey() string  { return filepath.Join(p.dir, "server.key") }
func (p pki) accountKey() string { return filepath.Join(p.dir, "service-account.key") }
func (p pki) tokens() string     { return filepath.Join(p.dir, "tokens.csv") }

// Kubeconfig is the path of a user's kubeconfig.
func (p pki) Kubeconfig(user string) string {
	return filepath.Join(p.dir, strings.ReplaceAll(user, ":", "-")+".kubeconfig")
}

// user is somebody the API server knows by a token.
type user struct {
	name   string
	groups []string
}

// make writes everything. The server is reached at the addresses.
func (p pki) make(server netip.AddrPort, addresses []netip.Addr, users []user) error {
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return err
	}
	ca, caKey, err := certificate(nil, nil, &x509.Certificate{
		Subject: pkix.Name{CommonName: "kube"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	})
	if err != nil {
		return err
	}
	names := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		DNSNames:    []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		KeyUsage:    x509.KeyUsageDigitalSignature,
	}
	for _, a := range addresses {
		names.IPAddresses = append(names.IPAddresses, net.IP(a.AsSlice()))
	}
	cert, key, err := certificate(ca, caKey, names)
	if err != nil {
		return err
	}
	accountKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	for path, content := range map[string]func() ([]byte, error){
		p.caCert():     func() ([]byte, error) { return pemBlock("CERTIFICATE", ca.Raw), nil },
		p.serverCert(): func() ([]byte, error) { return pemBlock("CERTIFICATE", cert.Raw), nil },
		p.serverKey():  func() ([]byte, error) { return pemKey(key) },
		p.accountKey(): func() ([]byte, error) { return pemKey(accountKey) },
	} {
		b, err := content()
		if err == nil {
			err = os.WriteFile(path, b, 0o600)
		}
		if err != nil {
			return err
		}
	}
	return p.writeUsers(server, users)
}

// writeUsers gives every user a token and a kubeconfig.
func (p pki) writeUsers(server netip.AddrPort, users []user) error {
	var tokens strings.Builder
	for _, u := range users {
		var secret [16]byte
		_, _ = rand.Read(secret[:]) // never fails, says its documentation
		token := hex.EncodeToString(secret[:])
		fmt.Fprintf(&tokens, "%s,%s,%s,%q\n", token, u.name, u.name, strings.Join(u.groups, ","))
		b, err := json.MarshalIndent(map[string]any{
			"apiVersion": "v1", "kind": "Config", "current-context": "kube",
			"clusters": []any{map[string]any{"name": "kube", "cluster": map[string]any{
				"server": "https://" + server.String(), "certificate-authority": p.caCert(),
			}}},
			"users":    []any{map[string]any{"name": u.name, "user": map[string]any{"token": token}}},
			"contexts": []any{map[string]any{"name": "kube", "context": map[string]any{"cluster": "kube", "user": u.name}}},
		}, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(p.Kubeconfig(u.name), b, 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(p.tokens(), []byte(tokens.String()), 0o600)
}

// certificate makes a key and a certificate signed by the parent, or by itself.
func certificate(parent *x509.Certificate, parentKey *ecdsa.PrivateKey, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		return nil, nil, err
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0)
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

func pemBlock(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func pemKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	return pemBlock("EC PRIVATE KEY", der), err
}
