//! What `tshark -T pdml` prints: a tree of fields for each packet.

use std::collections::BTreeMap;

/// An element: a packet, a protocol or a field.
#[derive(Debug, Default)]
pub struct Node {
    attributes: BTreeMap<String, String>,
    pub children: Vec<Self>,
}

impl Node {
    fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    /// The name that filters use; empty for plain text.
    pub fn name(&self) -> &str {
        self.attribute("name")
    }

    /// The value, as a filter has it.
    pub fn show(&self) -> &str {
        self.attribute("show")
    }

    /// The line that a person reads.
    pub fn line(&self) -> &str {
        self.attribute("showname")
    }

    /// The bytes on the wire, as hex digits.
    pub fn value(&self) -> &str {
        self.attribute("value")
    }

    /// How many bytes of the packet it stands for.
    pub fn size(&self) -> usize {
        self.attribute("size").parse().unwrap_or(0)
    }

    /// The first field of that name in it.
    pub fn find(&self, name: &str) -> Option<&Self> {
        self.children
            .iter()
            .find_map(|child| if child.name() == name { Some(child) } else { child.find(name) })
    }

    /// All fields of that name in it.
    pub fn find_all<'a>(&'a self, name: &str, found: &mut Vec<&'a Self>) {
        for child in &self.children {
            if child.name() == name {
                found.push(child);
            }
            child.find_all(name, found);
        }
    }
}

/// The packets.
pub fn parse(text: &str) -> Vec<Node> {
    let mut stack = vec![Node::default()];
    for element in text.split('<').skip(1) {
        let (tag, _) = element.rsplit_once('>').unwrap_or((element, ""));
        let is_of = |name: &str| {
            tag.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '/']) || rest.is_empty())
        };
        if let Some(closed) = tag.strip_prefix('/') {
            if ["packet", "proto", "field"].contains(&closed) {
                let node = stack.pop().unwrap();
                stack.last_mut().unwrap().children.push(node);
            }
        } else if is_of("packet") || is_of("proto") || is_of("field") {
            let node = Node { attributes: attributes(tag.trim_end_matches('/')), children: Vec::new() };
            if tag.ends_with('/') {
                stack.last_mut().unwrap().children.push(node);
            } else {
                stack.push(node);
            }
        }
    }
    assert_eq!(stack.len(), 1, "not well formed");
    stack.pop().unwrap().children
}

fn attributes(tag: &str) -> BTreeMap<String, String> {
    let mut parts = tag.split('"');
    let mut attributes = BTreeMap::new();
    while let (Some(before), Some(value)) = (parts.next(), parts.next()) {
        let name = before.trim_end_matches('=').rsplit(' ').next().unwrap_or("");
        attributes.insert(name.to_owned(), unescape(value));
    }
    attributes
}

fn unescape(text: &str) -> String {
    text.replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}
