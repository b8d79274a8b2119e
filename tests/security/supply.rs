//! S16: what the program is made of. Licences and origins of every crate in the lock file against `deny.toml`, without a network.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Whether an SPDX expression (with the old `/` for OR) is met by allowed licences; notes which were used.
struct Expression<'a> {
    words: Vec<&'a str>,
    at: usize,
    allowed: &'a BTreeSet<String>,
    used: BTreeSet<String>,
}

impl<'a> Expression<'a> {
    fn met(text: &'a str, allowed: &'a BTreeSet<String>) -> (bool, BTreeSet<String>) {
        let mut words = Vec::new();
        for word in text.split([' ', '/']).filter(|w| !w.is_empty()) {
            let inner = word.trim_start_matches('(');
            words.extend(std::iter::repeat_n("(", word.len() - inner.len()));
            let plain = inner.trim_end_matches(')');
            words.push(plain);
            words.extend(std::iter::repeat_n(")", inner.len() - plain.len()));
        }
        let slash = text.contains('/');
        let mut e = Expression { words, at: 0, allowed, used: BTreeSet::new() };
        let met = if slash { e.words.clone().iter().any(|w| *w != "OR" && e.licence(w)) } else { e.any() };
        (met, e.used)
    }
    fn word(&mut self) -> Option<&'a str> {
        self.at += 1;
        self.words.get(self.at - 1).copied()
    }
    fn any(&mut self) -> bool {
        let mut met = self.all();
        while self.words.get(self.at) == Some(&"OR") {
            self.at += 1;
            met |= self.all();
        }
        met
    }
    fn all(&mut self) -> bool {
        let mut met = self.one();
        while self.words.get(self.at) == Some(&"AND") {
            self.at += 1;
            met &= self.one();
        }
        met
    }
    fn one(&mut self) -> bool {
        match self.word() {
            Some("(") => {
                let met = self.any();
                self.at += 1;
                met
            }
            Some(name) if self.words.get(self.at) == Some(&"WITH") => {
                self.at += 1;
                let whole = format!("{name} WITH {}", self.word().unwrap_or_default());
                self.licence(&whole) || self.licence(name)
            }
            Some(name) => self.licence(name),
            None => false,
        }
    }
    fn licence(&mut self, name: &str) -> bool {
        let met = self.allowed.contains(name);
        if met {
            self.used.insert(name.to_string());
        }
        met
    }
}

#[test]
fn every_crate_has_an_allowed_licence_and_origin() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let deny: toml::Value = toml::from_str(&std::fs::read_to_string(root.join("deny.toml")).expect("deny.toml")).expect("TOML");
    let list = |a: &str, b: &str| -> BTreeSet<String> { deny[a][b].as_array().expect("a list").iter().map(|v| v.as_str().expect("a text").to_string()).collect() };
    let (allowed, registries) = (list("licenses", "allow"), list("sources", "allow-registry"));
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let out = Command::new(cargo).args(["metadata", "--format-version", "1", "--locked", "--offline"]).current_dir(root).output().expect("cargo runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(packages.len() > 300);
    let (mut faults, mut used) = (Vec::new(), BTreeSet::new());
    for package in packages {
        let (name, licence) = (package["name"].as_str().expect("a name"), package["license"].as_str().unwrap_or_default());
        let (met, with) = Expression::met(licence, &allowed);
        used.extend(with);
        if !met {
            faults.push(format!("{name}: licence \"{licence}\""));
        }
        let banned = deny["bans"]["deny"].as_array().expect("a list").iter().any(|b| b["crate"].as_str() == Some(name));
        let known = package["source"].as_str().is_none_or(|s| s.strip_prefix("registry+").is_some_and(|r| registries.contains(r)));
        if banned || !known {
            faults.push(format!("{name}: from {}", package["source"]));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert_eq!(allowed.difference(&used).collect::<Vec<_>>(), Vec::<&String>::new(), "allowed and not needed");
}

#[test]
fn expressions_mean_what_spdx_says() {
    let allowed = BTreeSet::from(["MIT".to_string(), "ISC".into(), "Apache-2.0 WITH LLVM-exception".into()]);
    for (text, met) in [("MIT", true), ("GPL-3.0", false), ("GPL-3.0 OR MIT", true), ("GPL-3.0/MIT", true), ("MIT AND GPL-3.0", false), ("(GPL-3.0 OR MIT) AND ISC", true), ("ISC AND (GPL-3.0 OR BSL-1.0)", false), ("Apache-2.0 WITH LLVM-exception", true), ("Apache-2.0", false), ("", false)] {
        assert_eq!(Expression::met(text, &allowed).0, met, "{text}");
    }
}
