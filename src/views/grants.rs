//! `grants`: SHOW GRANTS: memberships, and privileges on sources and lake tables.

use super::{View, some};
use standpipe_catalog::{GrantObject, Grants, Oid, Roles, Snapshot, Sources};

pub const VIEW: View = View {
    schema: "standpipe",
    name: "grants",
    doc: "who is in which role, and who may read what",
    columns: &[("grantee", "text"), ("role_or_object", "text"), ("privilege", "text"), ("granted_by", "text")],
    rows: |cx| {
        let s = &cx.snapshot;
        let mut out = Vec::new();
        for (_, r) in s.scan::<Roles>() {
            let member = |m: &standpipe_catalog::Membership| vec![some(&r.name), some(name(s, m.role)), some(if m.admin { "member with admin option" } else { "member" }), m.granted_by.map(|g| name(s, g))];
            out.extend(r.member_of.iter().map(member));
        }
        for (_, g) in s.scan::<Grants>() {
            let object = match &g.object {
                GrantObject::Source(uuid) => s.get::<Sources>(uuid).map_or_else(|| uuid.to_string(), |x| format!("source {}", x.name)),
                GrantObject::LakeTable { schema, name } => format!("table {schema}.{name}"),
            };
            out.push(vec![some(name(s, g.grantee)), some(object), some(&g.privilege), g.granted_by.map(|g| name(s, g))]);
        }
        Ok(out)
    },
};

fn name(snapshot: &Snapshot, role: Oid) -> String {
    snapshot.get::<Roles>(&role).map_or_else(|| role.to_string(), |r| r.name.clone())
}
