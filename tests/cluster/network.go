package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// nodeLink is the node's end of the cable between this machine and the sandbox. This machine has no interface of that name,
// so that nothing that is meant for the node can ever be done to one of its own.
const nodeLink = "whetstone-node"

// addressesInUse says whether a route of this machine overlaps with one that the node needs. A default route does not count.
func (n *node) addressesInUse() (bool, error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return false, fmt.Errorf("read this machine's routes: %w", err)
	}
	for _, route := range routes {
		if route.Dst == nil {
			continue
		}
		address, ok := netip.AddrFromSlice(route.Dst.IP.To4())
		ones, _ := route.Dst.Mask.Size()
		if !ok || ones == 0 {
			continue
		}
		taken := netip.PrefixFrom(address, ones)
		if taken.Overlaps(n.network) || taken.Overlaps(n.podCIDR) || taken.Overlaps(n.serviceCIDR) {
			return true, nil
		}
	}
	return false, nil
}

// connect lays a cable between this machine and the network namespace of the process. This machine gets routes to pods and
// services. The node gets none to anywhere else: a pod cannot reach what is not part of a test.
func (n *node) connect(pid int) error {
	cable := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: n.hostLink},
		PeerName:      nodeLink,
		PeerNamespace: netlink.NsPid(pid),
	}
	if err := netlink.LinkAdd(cable); err != nil {
		return fmt.Errorf("make the pair of interfaces %s: %w", n.hostLink, err)
	}

	namespace, err := netns.GetFromPid(pid)
	if err != nil {
		return fmt.Errorf("open the sandbox's network: %w", err)
	}
	defer namespace.Close()
	inside, err := netlink.NewHandleAt(namespace, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("reach into the sandbox's network: %w", err)
	}
	defer inside.Close()
	outside, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("reach this machine's network: %w", err)
	}
	defer outside.Close()

	if err := bringUp(inside, "lo", netip.Prefix{}); err != nil {
		return err
	}
	if err := bringUp(inside, nodeLink, netip.PrefixFrom(n.ip, n.network.Bits())); err != nil {
		return err
	}
	if err := bringUp(outside, n.hostLink, netip.PrefixFrom(n.hostIP, n.network.Bits())); err != nil {
		return err
	}
	return errors.Join(
		addRoute(outside, n.hostLink, n.podCIDR, n.ip),
		addRoute(outside, n.hostLink, n.serviceCIDR, n.ip),
		// No packet takes this route. The kernel only wants one before kube-proxy's rules give a packet its real destination.
		addRoute(inside, nodeLink, n.serviceCIDR, n.hostIP),
	)
}

// disconnect removes the cable now; the kernel would do it some time after the sandbox has ended.
func (n *node) disconnect() error {
	link, err := netlink.LinkByName(n.hostLink)
	if err == nil {
		err = netlink.LinkDel(link)
	}
	var notFound netlink.LinkNotFoundError
	if err != nil && !errors.As(err, &notFound) {
		// The kernel may have removed it between the two calls.
		if _, again := netlink.LinkByName(n.hostLink); !errors.As(again, &notFound) {
			return fmt.Errorf("remove the interface %s: %w", n.hostLink, err)
		}
	}
	return nil
}

func bringUp(handle *netlink.Handle, name string, address netip.Prefix) error {
	link, err := handle.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find the interface %s: %w", name, err)
	}
	if address.IsValid() {
		if err := handle.AddrAdd(link, &netlink.Addr{IPNet: ipNet(address)}); err != nil {
			return fmt.Errorf("give %s the address %s: %w", name, address, err)
		}
	}
	if err := handle.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring up the interface %s: %w", name, err)
	}
	return nil
}

func addRoute(handle *netlink.Handle, name string, destination netip.Prefix, gateway netip.Addr) error {
	link, err := handle.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find the interface %s: %w", name, err)
	}
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(destination), Gw: gateway.AsSlice()}
	if err := handle.RouteAdd(route); err != nil {
		return fmt.Errorf("add a route to %s by %s: %w", destination, name, err)
	}
	return nil
}

func ipNet(prefix netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())}
}
