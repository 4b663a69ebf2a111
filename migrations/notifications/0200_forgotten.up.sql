-- People who were forgotten: a fact about one that comes late makes no notice any more.
CREATE TABLE forgotten (
    user_id uuid PRIMARY KEY
);
