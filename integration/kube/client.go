package kube

import (
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// Client speaks to the API server as the administrator.
func (c *Cluster) Client() (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.AdminConfig())
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 500, 500
	config.Dial = c.Control.Network.Dial
	return kubernetes.NewForConfig(config)
}
