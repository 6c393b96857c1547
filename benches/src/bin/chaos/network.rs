//! A network of the run's own: a namespace for each node, joined by a bridge on which the clients are.
//!
//! Cuts and losses are rules of the packet filter inside the namespaces. They are between nodes only:
//! clients reach every node, whoever it does not reach. It takes the rights of root, `ip` and `iptables`.

use axon_benches::trial::Check;
use axon_benches::trial::mount::command;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};

/// Of 100 packets between two nodes, so many are lost.
const LOST_OF_100: &str = "0.05";

/// The namespaces of three nodes; gone when it is dropped.
pub struct Network {
    /// What is in the names of everything, and in the addresses.
    number: u8,
    nodes: usize,
}

/// Packets that `to` does not get from `from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    pub from: usize,
    pub to: usize,
}

impl Network {
    /// Makes it.
    ///
    /// # Errors
    /// Why it cannot be made here.
    pub fn open(nodes: usize, number: u8) -> Check<Self> {
        command("iptables", &["--version"])?;
        let network = Self { number, nodes };
        let bridge = network.bridge();
        ip(&["link", "add", &bridge, "type", "bridge"])?;
        ip(&["addr", "add", &format!("10.77.{number}.254/24"), "dev", &bridge])?;
        ip(&["link", "set", &bridge, "up"])?;
        for node in 0..nodes {
            let (space, outer) = (network.space(node), network.cable(node, "o"));
            let (inner, address) = (network.cable(node, "i"), network.address(node));
            ip(&["netns", "add", &space])?;
            ip(&["link", "add", &outer, "type", "veth", "peer", "name", &inner])?;
            ip(&["link", "set", &inner, "netns", &space])?;
            ip(&["link", "set", &outer, "master", &bridge, "up"])?;
            ip(&["-n", &space, "addr", "add", &format!("{address}/24"), "dev", &inner])?;
            ip(&["-n", &space, "link", "set", &inner, "up"])?;
            ip(&["-n", &space, "link", "set", "lo", "up"])?;
        }
        network.heal()?;
        Ok(network)
    }

    /// Where a node is.
    pub fn address(&self, node: usize) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 77, self.number, node as u8 + 1))
    }

    /// What a command line comes behind that runs where the node is.
    pub fn enter(&self, node: usize) -> Vec<OsString> {
        ["ip", "netns", "exec", &self.space(node)].map(Into::into).to_vec()
    }

    /// Lets everything through.
    pub fn heal(&self) -> Check {
        (0..self.nodes).try_for_each(|node| self.filter(node, &["-F", "INPUT"]))
    }

    /// Lets nothing through that `cuts` name.
    pub fn cut(&self, cuts: &[Cut]) -> Check {
        cuts.iter().try_for_each(|cut| {
            let from = self.address(cut.from).to_string();
            self.filter(cut.to, &["-A", "INPUT", "-s", &from, "-j", "DROP"])
        })
    }

    /// Loses one packet of twenty, between any two nodes.
    pub fn lose(&self) -> Check {
        for cut in self.between(|_, _| true) {
            let from = self.address(cut.from).to_string();
            let random = ["-m", "statistic", "--mode", "random", "--probability", LOST_OF_100];
            let rule = [&["-A", "INPUT", "-s", &from][..], &random, &["-j", "DROP"]].concat();
            self.filter(cut.to, &rule)?;
        }
        Ok(())
    }

    /// Every cut from one node to another that `chosen` says.
    pub fn between(&self, chosen: impl Fn(usize, usize) -> bool) -> Vec<Cut> {
        let pairs = (0..self.nodes).flat_map(|from| (0..self.nodes).map(move |to| (from, to)));
        let pairs = pairs.filter(|(from, to)| from != to && chosen(*from, *to));
        pairs.map(|(from, to)| Cut { from, to }).collect()
    }

    fn filter(&self, node: usize, rule: &[&str]) -> Check {
        ip(&[&["netns", "exec", &self.space(node), "iptables", "-w"][..], rule].concat())
    }

    fn bridge(&self) -> String {
        format!("axonb{}", self.number)
    }

    fn space(&self, node: usize) -> String {
        format!("axon{}-{node}", self.number)
    }

    fn cable(&self, node: usize, end: &str) -> String {
        format!("axon{end}{}-{node}", self.number)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for node in 0..self.nodes {
            let _ = ip(&["netns", "del", &self.space(node)]);
            let _ = ip(&["link", "del", &self.cable(node, "o")]);
        }
        let _ = ip(&["link", "del", &self.bridge()]);
    }
}

fn ip(args: &[&str]) -> Check {
    command("ip", args)
}
