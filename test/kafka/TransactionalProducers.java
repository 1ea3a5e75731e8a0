// Kafka's own producers, told step by step what to do: started by the source launcher with Kafka's jars on the class path.
// Arguments: the brokers and transaction.timeout.ms. Each line of stdin is a request in JSON, each line of stdout its answer.
// It ends without closing its producers: a transaction that is open then stays open until it times out.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.TransactionState;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class TransactionalProducers {
  private final Map<String, KafkaProducer<byte[], byte[]>> producers = new HashMap<>();
  private final String brokers;
  private final String timeoutMs;
  private final Admin admin;

  private TransactionalProducers(String brokers, String timeoutMs) {
    this.brokers = brokers;
    this.timeoutMs = timeoutMs;
    this.admin = Admin.create(Map.of("bootstrap.servers", brokers));
  }

  public static void main(String[] args) throws IOException {
    var answers = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    var requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    var told = new TransactionalProducers(args[0], args[1]);
    var json = new ObjectMapper();
    for (String line = requests.readLine(); line != null; line = requests.readLine()) {
      var answer = json.createObjectNode();
      try {
        answer.put("offset", told.act(json.readTree(line)));
      } catch (Exception error) {
        answer.put("error", String.valueOf(error.getCause() == null ? error : error.getCause()));
      }
      answers.println(answer);
    }
    Runtime.getRuntime().halt(0);
  }

  /** Does one step; returns the offset of what was sent, or -1. */
  private long act(JsonNode request) throws Exception {
    var id = request.get("id").asText();
    var producer = producers.computeIfAbsent(id, this::open);
    switch (request.get("act").asText()) {
      case "begin" -> producer.beginTransaction();
      case "commit" -> {
        producer.commitTransaction();
        awaitMarkers(id);
      }
      case "abort" -> {
        producer.abortTransaction();
        awaitMarkers(id);
      }
      case "send" -> {
        return send(producer, request);
      }
      default -> throw new IllegalArgumentException("expected begin, send, commit or abort, but found " + request);
    }
    return -1;
  }

  /** The coordinator answers before it has written the markers: what is sent next could stand in front of them. */
  private void awaitMarkers(String id) throws Exception {
    var ending = Set.of(TransactionState.PREPARE_COMMIT, TransactionState.PREPARE_ABORT);
    while (ending.contains(admin.describeTransactions(List.of(id)).description(id).get().state())) {
      Thread.sleep(5);
    }
  }

  private static long send(KafkaProducer<byte[], byte[]> producer, JsonNode request) throws Exception {
    var record = new ProducerRecord<>(
        request.get("topic").asText(),
        request.get("partition").asInt(),
        request.has("timestamp") ? request.get("timestamp").asLong() : null,
        bytes(request.get("key")),
        bytes(request.get("value")));
    for (JsonNode header : request.get("headers")) {
      record.headers().add(header.get(0).asText(), bytes(header.get(1)));
    }
    return producer.send(record).get().offset(); // waited for, so that what another producer sends next stands behind it
  }

  private static byte[] bytes(JsonNode base64) throws IOException {
    return base64 == null || base64.isNull() ? null : base64.binaryValue();
  }

  private KafkaProducer<byte[], byte[]> open(String id) {
    var config = new HashMap<String, Object>();
    config.put("bootstrap.servers", brokers);
    config.put("transactional.id", id);
    config.put("transaction.timeout.ms", timeoutMs);
    config.put("linger.ms", "0");
    config.put("key.serializer", ByteArraySerializer.class);
    config.put("value.serializer", ByteArraySerializer.class);
    var producer = new KafkaProducer<byte[], byte[]>(config);
    producer.initTransactions();
    return producer;
  }
}
