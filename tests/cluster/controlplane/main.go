// Command cluster holds the servers of a real Kubernetes in one file: `cluster kube-apiserver …`.
// The tests build it from the modules of Kubernetes, because nothing else that they can rely on
// hands out the kubelet and kube-proxy.
package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// servers are those of Kubernetes; etcd, which parses its own arguments, comes on top.
var servers = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllers.NewControllerManagerCommand,
	"kube-proxy":              proxy.NewProxyCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kubelet":                 func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
}

func main() {
	if len(os.Args) < 2 {
		refuse("name a server")
	}
	name := os.Args[1]
	os.Args = slices.Delete(os.Args, 1, 2)
	if name == "etcd" {
		etcdmain.Main(os.Args)
		return
	}
	command, known := servers[name]
	if !known {
		refuse(fmt.Sprintf("unknown server %q", name))
	}
	os.Exit(cli.Run(command()))
}

func refuse(reason string) {
	names := []string{"etcd"}
	for name := range servers {
		names = append(names, name)
	}
	slices.Sort(names)
	fmt.Fprintf(os.Stderr, "%s: one of %s\n", reason, strings.Join(names, ", "))
	os.Exit(2)
}
