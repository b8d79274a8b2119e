// What a Java program does through pgjdbc: connect, metadata, a prepared statement often enough to go binary, a cursor by fetch size.
import java.math.BigDecimal;
import java.sql.*;
import java.util.*;

public class Clients {
    static void check(boolean holds, String what) {
        if (!holds) throw new AssertionError(what);
        System.out.println("ok " + what);
    }

    static List<String> names(ResultSet rows, String column) throws SQLException {
        List<String> out = new ArrayList<>();
        while (rows.next()) out.add(rows.getString(column));
        return out;
    }

    public static void main(String[] args) throws Exception {
        String url = args[0], schema = args[1], table = args[2];
        Properties login = new Properties();
        login.setProperty("user", "standpipe");
        login.setProperty("password", args[3]);
        try (Connection c = DriverManager.getConnection(url, login)) {
            DatabaseMetaData meta = c.getMetaData();
            check(meta.getDatabaseProductName().equals("PostgreSQL"), "product name");
            check(names(meta.getSchemas(), "TABLE_SCHEM").contains(schema), "getSchemas has " + schema);
            check(names(meta.getTables(null, schema, "%", null), "TABLE_NAME").contains(table), "getTables has " + table);
            Map<String, Integer> types = new LinkedHashMap<>();
            try (ResultSet r = meta.getColumns(null, schema, table, "%")) {
                while (r.next()) types.put(r.getString("COLUMN_NAME"), r.getInt("DATA_TYPE"));
            }
            check(List.copyOf(types.keySet()).equals(List.of("id", "amount", "at", "note", "flag", "doc", "uid")), "getColumns in order: " + types.keySet());
            check(types.get("id") == Types.BIGINT && types.get("amount") == Types.NUMERIC && types.get("at") == Types.TIMESTAMP, "getColumns types: " + types);
            meta.getTypeInfo().close();
            names(meta.getPrimaryKeys(null, schema, table), "COLUMN_NAME");
            String name = schema + "." + table;
            try (PreparedStatement p = c.prepareStatement("select id, amount, at, note, flag from " + name + " where id = ?")) {
                for (long i = 1; i <= 12; i++) {
                    p.setLong(1, i);
                    try (ResultSet r = p.executeQuery()) {
                        check(r.next() && r.getLong(1) == i, "prepared, time " + i);
                        BigDecimal amount = r.getBigDecimal(2);
                        check(amount.equals(new BigDecimal(i + ".25")), "numeric keeps its scale: " + amount);
                        check(r.getTimestamp(3) != null && r.getString(4).equals("note " + i) && r.getBoolean(5) == (i % 2 == 0), "other types, time " + i);
                        check(!r.next(), "one row, time " + i);
                    }
                }
            }
            c.setAutoCommit(false);
            try (Statement s = c.createStatement()) {
                s.setFetchSize(100);
                long n = 0, sum = 0;
                try (ResultSet r = s.executeQuery("select id from " + name + " order by id")) {
                    while (r.next()) { n++; sum += r.getLong(1); }
                }
                check(n == 1000 && sum == 500500, "fetch size: " + n + " rows");
            }
            c.commit();
            try (Statement s = c.createStatement()) {
                s.executeQuery("select * from " + name + "_missing");
                throw new AssertionError("no error");
            } catch (SQLException e) {
                check(e.getSQLState().equals("42P01"), "42P01: " + e.getMessage());
            }
            c.rollback();
        }
    }
}
