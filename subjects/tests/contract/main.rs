//! scratch
#[test]
fn dump() {
    let mut g = schemars::generate::SchemaSettings::draft2020_12().into_generator();
    for i in lectern_subjects::requests() {
        let q = (i.request_schema)(&mut g);
        let a = (i.reply_schema)(&mut g);
        println!("{} {:?} {:?} {:?}", i.subject, q.as_value(), a.as_value(), i.summary);
    }
    for i in lectern_subjects::facts() {
        let q = (i.schema)(&mut g);
        println!("{} {:?}", i.subject, q.as_value());
    }
    println!("{}", serde_json::to_string_pretty(g.definitions()).unwrap());
}
