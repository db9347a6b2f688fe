package kubernetes

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	dialTimeout    = 10 * time.Second
	requestTimeout = 10 * time.Second // of what is no watch
	// A node asks for one list and one watch, and writes rarely.
	queriesPerSecond = 5
	burst            = 10
)

// client speaks to one API server with what the files said when it was made.
type client struct {
	rest   *rest.RESTClient
	http   *http.Client
	server string
	made   []byte // what it was made from
}

// close ends idle connections; those in use end with their request.
func (c *client) close() { utilnet.CloseIdleConnectionsFor(c.http.Transport) }

// credentials is a complete configuration and the bytes that it depends on.
type credentials struct {
	config *rest.Config
	from   []byte
}

// readCredentials reads kubeconfig, or what a pod is given. Files that it
// names are read now, so that a change of any of them is seen, except for the
// token, which client-go reads again by itself.
func readCredentials(kubeconfig string) (credentials, error) {
	config, from, err := readKubeconfig(kubeconfig)
	if err != nil {
		return credentials{}, err
	}
	all := bytes.NewBuffer(from)
	for _, f := range []struct {
		path *string
		data *[]byte
	}{
		{&config.CAFile, &config.CAData},
		{&config.CertFile, &config.CertData},
		{&config.KeyFile, &config.KeyData},
	} {
		if *f.path == "" || len(*f.data) > 0 {
			continue
		}
		b, err := os.ReadFile(*f.path)
		if err != nil {
			return credentials{}, fmt.Errorf("%s cannot be used: %w; put the file there", nameOf(kubeconfig), err)
		}
		*f.path, *f.data = "", b
		all.Write(b)
	}
	return credentials{config, all.Bytes()}, nil
}

func readKubeconfig(path string) (*rest.Config, []byte, error) {
	if path == "" {
		config, err := rest.InClusterConfig()
		if errors.Is(err, rest.ErrNotInCluster) {
			return nil, nil, errors.New("this is no pod of a cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set; set kubeconfig in the configuration")
		}
		if err != nil {
			return nil, nil, fmt.Errorf("the pod's service account cannot be used: %w; leave automountServiceAccountToken on", err)
		}
		return config, []byte(config.Host), nil
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("kubeconfig %s does not exist; put it there or set kubeconfig in the configuration", path)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("kubeconfig cannot be read: %w", err)
	}
	parsed, err := clientcmd.Load(b)
	if err != nil {
		return nil, nil, fmt.Errorf("kubeconfig %s is not valid: %w; write it anew", path, err)
	}
	for _, cluster := range parsed.Clusters {
		cluster.LocationOfOrigin = path
	}
	for _, user := range parsed.AuthInfos {
		user.LocationOfOrigin = path
	}
	if err = clientcmd.ResolveLocalPaths(parsed); err != nil {
		return nil, nil, fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	config, err := clientcmd.NewDefaultClientConfig(*parsed, nil).ClientConfig()
	if err != nil {
		return nil, nil, fmt.Errorf("kubeconfig %s is not usable: %w; it needs a current-context with cluster and user", path, err)
	}
	return config, b, nil
}

func nameOf(kubeconfig string) string {
	if kubeconfig == "" {
		return "the pod's service account"
	}
	return "kubeconfig " + kubeconfig
}

// connect makes a client; nothing is sent yet.
func connect(c credentials, userAgent string) (*client, error) {
	config := rest.CopyConfig(c.config)
	scheme := runtime.NewScheme()
	version := corev1.SchemeGroupVersion
	// The whole of client-go's scheme would add 13 MB to the binary.
	scheme.AddKnownTypes(version, &corev1.Node{}, &corev1.NodeList{}, &corev1.Event{}, &corev1.EventList{})
	metav1.AddToGroupVersion(scheme, version)
	config.GroupVersion = &version
	config.APIPath = "/api"
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	config.UserAgent = userAgent
	config.QPS, config.Burst = queriesPerSecond, burst
	config.Timeout = 0 // it would end the watch, too
	config.WarningHandler = rest.NoWarnings{}
	config.Dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext
	transport, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("connection to the API server %s: %w", config.Host, err)
	}
	api, err := rest.RESTClientForConfigAndClient(config, transport)
	if err != nil {
		return nil, fmt.Errorf("connection to the API server %s: %w", config.Host, err)
	}
	return &client{rest: api, http: transport, server: config.Host, made: c.from}, nil
}
