//! What plugins say of themselves, and that opening one does nothing: no system is needed for either.

use super::*;
use standpipe::plugin::option::{self, Given, GivenValue, OptKind};
use standpipe::plugin::registry::find;
use standpipe::plugin::{Capabilities, Commit, PipeRef};
use std::collections::BTreeSet;
use std::net::TcpListener;

/// What the name of a plugin ends with.
fn suffix(role: Role) -> &'static str {
    match role {
        Role::Source => "",
        Role::Extractor => "-extractor",
        Role::Processor => "-processor",
        Role::Connector => "-connector",
    }
}

#[test]
fn names_are_normal_and_found_however_they_are_written() {
    let mut seen = BTreeSet::new();
    for plugin in PLUGINS.iter() {
        assert!(plugin.name.ends_with(suffix(plugin.role)), "{}", plugin.name);
        assert!(!plugin.doc.is_empty() && !plugin.doc.contains('\n'), "{} has no doc of one line", plugin.name);
        if plugin.role == Role::Source {
            assert_eq!(plugin.name, plugin.system);
        }
        for name in std::iter::once(&plugin.name).chain(plugin.aliases) {
            assert_eq!(option::normalise(name), *name);
            assert!(seen.insert((format!("{:?}", plugin.role), *name)), "{name} is two {:?}s", plugin.role);
            let mut ways = vec![name.to_string(), name.to_uppercase(), name.replace('-', "_")];
            match plugin.role {
                Role::Extractor => ways.extend(name.strip_suffix("-extractor").map(|n| format!("{n}-source"))),
                Role::Connector => ways.extend(name.strip_suffix("-connector").map(|n| format!("{n}_SINK"))),
                Role::Source | Role::Processor => {}
            }
            for way in ways {
                assert_eq!(find(plugin.role, &way).map(|p| p.name), Some(plugin.name), "{way}");
            }
        }
    }
    assert!(find(Role::Source, "no-such-plugin").is_none());
}

fn given(name: &str, text: &str) -> Given {
    Given { key: name.into(), key_position: 0, value: GivenValue { text: text.into(), secret: false, bare: false }, value_position: 0 }
}

#[test]
fn options_are_described_and_their_defaults_are_valid() {
    for plugin in PLUGINS.iter() {
        let mut keys = BTreeSet::new();
        for o in plugin.options.iter().flat_map(|t| t.iter()) {
            let at = format!("option {} of {}", o.name, plugin.name);
            assert!(!o.doc.is_empty() && !o.doc.contains('\n'), "{at} has no doc of one line");
            assert!(["at once", "restart", "never"].contains(&o.applies), "{at} applies \"{}\"", o.applies);
            assert!(!(o.required && o.default.is_some()), "{at} is required and has a default");
            assert!(!(o.secret && o.default.is_some()), "{at} is secret and has a default");
            for name in std::iter::once(&o.name).chain(o.aliases) {
                assert_eq!(option::normalise(name), *name, "{at}");
                assert!(keys.insert((*name, o.kind == OptKind::Family)), "{at}: \"{name}\" is there twice");
            }
            if let Some(default) = o.default {
                let (_, faults) = option::check(&[given(o.name, default)], plugin.options, &[]);
                let of_it = faults.iter().find(|f| f.message.contains(&format!("option \"{}\"", o.name)));
                assert!(of_it.is_none(), "{at}: its default {default}: {of_it:?}");
            }
        }
        let (_, faults) = option::check(&[given("no-such-option", "x")], plugin.options, &[]);
        assert!(faults[0].message.contains("\"no-such-option\"") && faults[0].message.contains("unknown"), "{}: {faults:?}", plugin.name);
        // what every statement's options are checked by does not fall over an empty list
        (plugin.check)(&Options::default().with_defaults(plugin.options));
    }
}

#[test]
fn capabilities_are_of_the_role() {
    for plugin in PLUGINS.iter() {
        let c = plugin.capabilities;
        let writes = c.commit != Commit::None || c.transaction_limit.is_some() || c.transactional_ddl || c.upsert;
        let reads = c.exact_anchor;
        let fits = match (plugin.role, plugin.open) {
            (Role::Source, Open::Source(_)) => c.snapshot && !writes && c.changes == of_system(Role::Extractor, plugin.system).is_some(),
            (Role::Extractor, Open::Extractor(_)) => c.changes && !writes && same_reading(c, plugin),
            (Role::Connector, Open::Connector(_)) => !reads && c.snapshot && c.changes,
            (Role::Processor, Open::Processor(_)) => !writes && !reads && !c.snapshot && !c.changes,
            _ => panic!("{} does not open as a {:?}", plugin.name, plugin.role),
        };
        assert!(fits, "{}: {c:?}", plugin.name);
    }
}

/// A source and its extractor hand over to each other: they say the same of it.
fn same_reading(c: Capabilities, plugin: &Plugin) -> bool {
    let source = of_system(Role::Source, plugin.system).expect("an extractor has a source").capabilities;
    (c.snapshot, c.exact_anchor) == (source.snapshot, source.exact_anchor)
}

/// Outside of any runtime: whatever spawns or waits panics here.
#[test]
fn opening_reaches_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a mode");
    let port = listener.local_addr().expect("its number").port();
    let dir = tempfile::tempdir().expect("a directory");
    let pipe = PipeRef { uuid: Uuid::new_v4(), name: "compliance".into() };
    for plugin in PLUGINS.iter() {
        let mut request = nobody::request(plugin, port);
        request.data_dir = dir.path().to_path_buf();
        let begun = Instant::now();
        match plugin.open {
            Open::Source(open) => drop(open(request).unwrap_or_else(|e| panic!("{}: {e}", plugin.name))),
            Open::Extractor(open) => drop(open(request, pipe.clone()).unwrap_or_else(|e| panic!("{}: {e}", plugin.name))),
            Open::Connector(open) => drop(open(request, pipe.clone()).unwrap_or_else(|e| panic!("{}: {e}", plugin.name))),
            Open::Processor(open) => drop(open(&processors::options(plugin).expect("options")).unwrap_or_else(|e| panic!("{}: {e}", plugin.name))),
        }
        assert!(begun.elapsed() < Duration::from_secs(2), "{} opens for {:?}", plugin.name, begun.elapsed());
    }
    assert!(listener.accept().is_err(), "opening a plugin has connected");
    assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 0, "opening a plugin has written");
}
