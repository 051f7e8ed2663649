//! Trees whose roots others have published.

/// The value of all published vectors.
pub const PUBLISHED_VALUE: &str = "bafyreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454";

/// Roots that `@atproto/repo` and indigo (`mst_interop_test.go`) have for these keys, and
/// those of `atproto-interop-tests`, `firehose/commit-proof-fixtures.json`
/// (`keys` and `rootBeforeCommit`).
pub const PUBLISHED_ROOTS: [(&str, &[&str]); 8] = [
    (
        "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm",
        &[],
    ),
    (
        "bafyreibj4lsc3aqnrvphp5xmrnfoorvru4wynt6lwidqbm2623a6tatzdu",
        &["com.example.record/3jqfcqzm3fo2j"],
    ),
    (
        "bafyreicraprx2xwnico4tuqir3ozsxpz46qkcpox3obf5bagicqwurghpy",
        &[
            "A0/374913",
            "B1/986427",
            "C0/451630",
            "E0/670489",
            "F1/085263",
            "G0/765327",
        ],
    ),
    (
        "bafyreialm5sgf7pijawbschsjpdevid5rss5ip3d4n4w6cc4mhu53sfl4i",
        &["A0/374913", "B0/601692", "D0/952776", "E0/670489"],
    ),
    (
        "bafyreigc6ay2qwfk7kuevvrczummpd64nknfo4yxpaooknfymzyb7u3ntq",
        &["A0/374913", "B2/827649", "C0/451630"],
    ),
    (
        "bafyreiceld4icym4qjmdcn3dfgtxt7t66hdgyhvigessgmkvb56dx6amgi",
        &["A0/374913", "B2/827649", "D2/269196", "E0/670489"],
    ),
    (
        "bafyreigr3plnts7dax6yokvinbhcqpyicdfgg6npvvyx6okc5jo55slfqi",
        &[
            "B0/601692",
            "C2/014073",
            "D0/952776",
            "E2/819540",
            "F0/697858",
            "H0/131238",
        ],
    ),
    (
        "bafyreigfcsro2up7qi7l3rxdpg7n6gjtteotkmgrrqztl5oy2tf4ncl4ji",
        &[
            "app.bsky.feed.post/3lo3kqqljmfe2",
            "app.bsky.feed.post/3log4547dm6h2",
            "app.bsky.feed.post/3log45inogon2",
            "app.bsky.feed.post/3logaodrh74d2",
            "app.bsky.feed.post/3logteazog2n2",
            "app.bsky.feed.post/3lon5cqsbwrj2",
            "app.bsky.feed.repost/3l6sjhvqonco2",
        ],
    ),
];
