//! The worker `content` on a real bus and database, asked as the gateway asks.

mod uploads;

use lectern_harness::Answer;
use lectern_subjects::Role;
use lectern_workbench::{Person, World};
use serde_json::{Value, json};

const CREATE: &str = "svc.content.v1.uploads.create";
const GET: &str = "svc.content.v1.uploads.get";
const ADVANCE: &str = "svc.content.v1.uploads.advance";
const COMPLETE: &str = "svc.content.v1.uploads.complete";
const ASSET: &str = "svc.content.v1.assets.get";

const SHA256: &str = "67d1e8baad0186c0108e72c64f63bd30575229713a21be22a4b9cc7724754c48";

async fn world() -> World {
    let world = World::with_schema_of("content").await;
    world.run(lectern_content::service(), |core| core).await;
    world
}

/// An operator with an upload of this length.
async fn upload(world: &World, file_name: &str, length: i64) -> (Person, String) {
    let operator = world.someone(Role::Operator);
    let upload = operator.asks(CREATE, json!({ "length": length, "file_name": file_name })).await.ok();
    let id = upload.id();
    (operator, id)
}

fn chunk(id: &str, from: i64, bytes: i64, part: &str) -> Value {
    json!({ "id": id, "from": from, "bytes": bytes, "part": part })
}

async fn complete(person: &Person, id: &str, size: i64, sniffed: &str) -> Answer {
    person.asks(COMPLETE, json!({ "id": id, "sha256": SHA256, "size": size, "sniffed": sniffed })).await
}
